"""Reads the classes from a labels file.

A text file has one class per line, like `label_cn.txt` of the published sets: line n is class n. Tabs separate synonyms
of a class. JSON is a list of names, or of lists of names, or an object of such lists by label. Two classes may have
the same name; they differ by their numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from pipeline import storage
from pipeline.errors import ConfigError, NotFoundError
from pipeline.model.cutting import folded
from pipeline.sources.texts import decode_text

_JSON: TypeAdapter[list[str | list[str]] | dict[str, list[str]]] = TypeAdapter(
    list[str | list[str]] | dict[str, list[str]]
)


@dataclass(frozen=True, slots=True)
class Classes:
    """C classes, numbered in order.

    Attributes:
        synonyms: the names of each class; the first is its label.
    """

    synonyms: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.synonyms)

    @property
    def labels(self) -> list[str]:
        """The C labels."""
        return [names[0] for names in self.synonyms]

    @property
    def repeated(self) -> list[str]:
        """Labels of more than one class."""
        return [label for label, count in Counter(self.labels).items() if count > 1]

    @property
    def first_equals(self) -> list[int]:
        """(C,) for each class the number of the first one with the same names, as the model reads them."""
        first: dict[tuple[str, ...], int] = {}
        read = (tuple(map(folded, names)) for names in self.synonyms)
        return [first.setdefault(names, number) for number, names in enumerate(read)]


def read_classes(uri: str) -> Classes:
    """Read a labels file. Raises ConfigError, StorageError."""
    try:
        rows = _from_json(uri) if uri.lower().endswith(".json") else _from_lines(uri)
    except NotFoundError as error:
        raise ConfigError(f"There is no file {uri}: --labels takes the path of one with a class per line.") from error
    for number, names in enumerate(rows):
        if not names or not all(names):
            raise ConfigError(f"{uri}: class {number} has an empty name. Write one class per line, each with a name.")
    if len(rows) < 2:
        raise ConfigError(
            f"{uri} names {len(rows)} classes, but with fewer than two, every probability is 1: give at least two, or "
            "use `hanclip similarity OUT --text LABEL`."
        )
    return Classes(tuple(tuple(dict.fromkeys(names)) for names in rows))


def _from_lines(uri: str) -> list[list[str]]:
    return [[name.strip() for name in line.split("\t")] for line in read_lines(uri)]


def _from_json(uri: str) -> list[list[str]]:
    try:
        tree = _JSON.validate_json(storage.read_bytes(storage.normalise(uri)))
    except ValidationError as error:
        raise ConfigError(
            f'{uri} is not a labels file: write ["苹果", "梨"], [["苹果", "红苹果"], ["梨"]] or {{"苹果": ["红苹果"]}}.'
        ) from error
    if isinstance(tree, dict):
        return [[label, *names] for label, names in tree.items()]
    return [[item] if isinstance(item, str) else item for item in tree]


def read_lines(uri: str) -> list[str]:
    """The lines of a text file without line ends; an empty file has none. Raises ConfigError, StorageError."""
    try:
        text = decode_text(storage.read_bytes(storage.normalise(uri)))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{uri} is neither UTF-8 nor GB18030: save it as UTF-8.") from error
    return [line.rstrip("\r") for line in text.split("\n")] if text else []
