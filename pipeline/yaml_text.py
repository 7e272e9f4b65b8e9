"""Parses YAML and JSON text and finds the line of each key, so that an error about a value names where it is.

In: the text of a file. Out: plain values, and labels such as `run.yaml, line 7: source.limit`.
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


class YamlText:
    """One parsed file.

    Args:
        name: what messages call the file.
        text: its content; JSON is YAML too.

    Attributes:
        tree: plain values; None for an empty text.

    Raises:
        ConfigError: it is not YAML, or a key is there twice; the message has the line.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            self._require_unique(root)
            self.tree: object = None if root is None else loader.construct_document(root)
            self._lines = dict(_keys(root, (), frozenset()))  # with those that a merge brings, before a mapping's own
        except ReaderError as error:
            line = text[: error.position].count("\n") + 1
            raise ConfigError(f"{name}, line {line}: this is not YAML: {error.reason}. Correct it.") from error
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


class UniqueKeys(yaml.SafeLoader):
    """A loader for YAML of other programs (Kubernetes, Prefect) that refuses a key which is there twice.

    It raises yaml.MarkedYAMLError, as for other mistakes.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written: constructing values puts merged keys among its own, also in anchors."""
        node = super().compose_mapping_node(anchor)
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                problem = f"{name} is there twice, first in line {seen[name].line + 1}: remove one of them"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[name] = key.start_mark
        return node


def load_unique(text: str) -> Any:
    """The values of one YAML document. Raises yaml.YAMLError."""
    return yaml.load(text, UniqueKeys)


def read_yaml(path: str | Path, cure: str) -> YamlText:
    """The YAML or JSON file at `path` of this machine. Raises ConfigError, with `cure` if it cannot be read."""
    try:
        return YamlText(str(path), Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}. {cure}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8. Convert the file to UTF-8.") from error


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
