"""Parses YAML and JSON text and finds the line of each key, so that an error about a value names where it is.

In: the text of a file. Out: plain values, and labels such as `run.yaml, line 7: source.limit`. Every YAML of a user
goes through `BoundedLoader`: an alias costs a few bytes and stands for everything below its anchor, so that a short
file can stand for more values than any memory holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from pipeline.errors import ConfigError

KeyPath = tuple[str, ...]
_MERGE = "<<"
#: Values that the aliases of a file may repeat; templates of clusters repeat some hundred.
_MOST_REPEATED = 100_000
_NO_NAME = "a key is a list or a mapping: write a name, or quotes around {{ ... }}"


class RefusedYamlError(yaml.MarkedYAMLError):
    """The text is YAML, and not accepted all the same; `problem` says why, with the cure."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(None, None, problem, mark)
        self.line = mark.line + 1


class BoundedLoader(yaml.SafeLoader):
    """A loader that refuses aliases which repeat too much, with RefusedYamlError."""

    def compose_document(self) -> yaml.Node | None:
        """The nodes of a document; an alias is the node of its anchor once more."""
        root = super().compose_document()
        if root is not None:
            _require_bounded(root)
        return root


class UniqueKeys(BoundedLoader):
    """A loader for YAML of other programs (Kubernetes, Prefect) that also refuses a key which is there twice.

    It raises yaml.MarkedYAMLError, as for other mistakes.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written: constructing values puts merged keys among its own, also in anchors."""
        node = super().compose_mapping_node(anchor)
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused with the whole document
            name = str(key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                problem = f"{name} is there twice, first in line {seen[name].line + 1}: remove one of them"
                raise RefusedYamlError(problem, key.start_mark)
            seen[name] = key.start_mark
        return node


class YamlText:
    """One parsed file.

    Args:
        name: what messages call the file.
        text: its content; JSON is YAML too.

    Attributes:
        tree: plain values; None for an empty text.

    Raises:
        ConfigError: it is not YAML, a key is there twice, or aliases repeat too much; the message has the line.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        try:
            loader = BoundedLoader(text)
            root = loader.get_single_node()
            self._require_unique(root)
            self.tree: object = None if root is None else loader.construct_document(root)
            self._lines = dict(_keys(root, (), frozenset()))  # with those that a merge brings, before a mapping's own
        except ReaderError as error:
            line = text[: error.position].count("\n") + 1
            raise ConfigError(f"{name}, line {line}: this is not YAML: {error.reason}. Correct it.") from error
        except RefusedYamlError as error:
            raise ConfigError(f"{name}, line {error.line}: {error.problem}.") from error
        except yaml.MarkedYAMLError as error:
            mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
            place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise ConfigError(f"{name}{place}: this is not YAML: {problem}. Correct it.") from error
        except ValueError as error:  # such as a date that does not exist
            raise ConfigError(f"{name}: this is not YAML: {error}. Correct it.") from error
        except RecursionError as error:
            raise ConfigError(f"{name}: this is nested too deeply to be options. Correct it.") from error

    def label(self, path: KeyPath) -> str:
        """`run.yaml, line 7: source.limit` for the key at `path`, or for the nearest one above that the file has."""
        known = next((path[:depth] for depth in range(len(path), 0, -1) if path[:depth] in self._lines), None)
        place = f"{self._name}, line {self._lines[known]}" if known else self._name
        return f"{place}: {'.'.join(path)}" if path else place

    def _require_unique(self, root: yaml.Node | None) -> None:
        """Raise ConfigError for a key that is there twice; YAML itself would let the last of them win."""
        lines: dict[KeyPath, int] = {}
        for path, line in _keys(root, (), frozenset()):
            if path in lines and _MERGE not in path:
                raise ConfigError(
                    f"{self._name}, line {line}: {'.'.join(path)} is there twice, first in line {lines[path]}: "
                    "remove one of them."
                )
            lines[path] = line


def load_unique(text: str) -> Any:
    """The values of one YAML document. Raises yaml.YAMLError."""
    return yaml.load(text, UniqueKeys)


def load_documents(name: str, text: str) -> list[Any]:
    """The values of each YAML document in a text of other programs. Raises ConfigError, which calls the text `name`."""
    try:
        return list(yaml.load_all(text, UniqueKeys))
    except RefusedYamlError as error:
        raise ConfigError(f"{name} is not accepted: line {error.line}: {error.problem}.") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{name} is not YAML: {line}{error.problem}. Correct it.") from error
    except (yaml.YAMLError, ValueError) as error:  # such as a date that does not exist
        raise ConfigError(f"{name} is not YAML: {error}. Correct it.") from error
    except RecursionError as error:
        raise ConfigError(f"{name} is nested too deeply. Correct it.") from error


def read_yaml(path: str | Path, cure: str) -> YamlText:
    """The YAML or JSON file at `path` of this machine. Raises ConfigError, with `cure` if it cannot be read."""
    try:
        return YamlText(str(path), Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}. {cure}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8. Convert the file to UTF-8.") from error


def _require_bounded(root: yaml.Node) -> None:
    """Raise RefusedYamlError if the aliases below `root` repeat too much; following them takes no longer than that."""
    seen: set[int] = set()
    repeated = 0
    waiting = [(root, frozenset[int]())]
    while waiting:
        node, within = waiting.pop()
        if id(node) in within:  # an alias to a node that it lies in ends there
            continue
        if id(node) in seen:
            repeated += 1
            if repeated > _MOST_REPEATED:
                problem = f"its aliases (*name) repeat more than {_MOST_REPEATED:,} values: use fewer of them"
                raise RefusedYamlError(problem, node.start_mark)
        seen.add(id(node))
        if isinstance(node, yaml.CollectionNode):
            inside = within | {id(node)}
            waiting += [(child, inside) for child in _children(node)]


def _children(node: yaml.CollectionNode) -> list[yaml.Node]:
    """What lies in a node. Raises RefusedYamlError for a key without a name, whose text may have no end."""
    if not isinstance(node, yaml.MappingNode):
        return list(node.value)
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise RefusedYamlError(_NO_NAME, key.start_mark)
    return [value for _, value in node.value]


def _keys(node: yaml.Node | None, above: KeyPath, within: frozenset[int]) -> Iterator[tuple[KeyPath, int]]:
    """Each key and index below `node` with its line; an alias to a node that it lies in ends there."""
    if node is None or id(node) in within:
        return
    within |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*above, str(key.value)), key.start_mark.line + 1
            yield from _keys(value, (*above, str(key.value)), within)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*above, str(number)), value.start_mark.line + 1
            yield from _keys(value, (*above, str(number)), within)
