"""Finds the authors' files at the given addresses: which to read for which kind of record.

    NAME/{split}_imgs.tsv          images, with or without  NAME/{split}_texts.jsonl  (`_queries.jsonl` in older sets)
    NAME/lmdb/{split}/imgs, pairs  the same as LMDB folders
    NAME/label_cn.txt, NAME/{split}/<class>/*.jpg

In: addresses and `--split`. Out: `Holdings`. If a folder has both text files and LMDB, the text files are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import NotFoundError, SourceError, StorageError
from pipeline.sources.chinese_clip.texts_file import parse_text
from pipeline.sources.places.addresses import absent, addresses, entries, is_match
from pipeline.storage import ObjectInfo

LABELS = "label_cn.txt"
IMAGES_SUFFIX = "_imgs.tsv"
TEXT_SUFFIXES = ("_texts.jsonl", "_queries.jsonl")
LMDB_FILE = "data.mdb"

_SNIFF_BYTES = 2**16
_IMAGE_LINE = re.compile(rb"(\xef\xbb\xbf)?\d+\t[A-Za-z0-9+/_-]{16}")
_LMDB = re.compile(rf"([^/]+)/(imgs|pairs)/{re.escape(LMDB_FILE)}$")


@dataclass(frozen=True, slots=True)
class Split:
    """The files of one split.

    Attributes:
        images: the TSV of images.
        texts: the JSON lines of texts.
        lmdb_images, lmdb_pairs: LMDB folders.
    """

    name: str
    images: ObjectInfo | None = None
    texts: ObjectInfo | None = None
    lmdb_images: str | None = None
    lmdb_pairs: str | None = None


@dataclass(slots=True)
class Holdings:
    """Splits by name, and labelled folders: class names with class folders."""

    splits: dict[str, Split] = field(default_factory=dict)
    labelled: list[str] = field(default_factory=list)

    def add(self, info: ObjectInfo) -> None:
        """Add a file to its split, if it is one of the authors' files."""
        name = storage.name(info.uri)
        lmdb = _LMDB.search(info.uri)
        if name.endswith(IMAGES_SUFFIX):
            self._put(name.removesuffix(IMAGES_SUFFIX), images=info)
        elif suffix := next((suffix for suffix in TEXT_SUFFIXES if name.endswith(suffix)), None):
            self._put(name.removesuffix(suffix), texts=info)
        elif lmdb:
            self._put(lmdb[1], **{f"lmdb_{'images' if lmdb[2] == 'imgs' else 'pairs'}": storage.parent(info.uri)})

    def _put(self, split: str, **files: ObjectInfo | str) -> None:
        known = self.splits.get(split, Split(split))
        [(role, file)] = files.items()
        if getattr(known, role) not in (None, file):
            raise SourceError(f"The split {split} exists twice: {getattr(known, role)} and {file}. Give one of them.")
        self.splits[split] = replace(known, **files)  # type: ignore[arg-type]


def is_chinese_clip(uri: str, names: Sequence[str]) -> bool:
    """Whether an address holds the authors' files, by their names and the first lines of similar files."""
    labels = storage.join(uri, LABELS)
    if labels in names or (storage.is_local(uri) and storage.exists(labels)):
        return True
    return any(_is_ours(name) for name in names)


def find_holdings(config: SourceConfig, out: str) -> Holdings:
    """Everything of the authors' layout at all addresses.

    Raises:
        SourceError: there is nothing, or one split twice.
    """
    holdings = Holdings()
    for uri, address in addresses(config.uris, out):
        if _is_file(address):
            holdings.add(_stat(address))
        elif storage.exists(storage.join(address, LABELS)):
            holdings.labelled.append(address)
        else:
            for info in entries(address, out, matched=is_match(uri, address)):
                holdings.add(info)
    if not holdings.splits and not holdings.labelled:
        raise SourceError(
            f"No *{IMAGES_SUFFIX}, *{TEXT_SUFFIXES[0]}, LMDB folders or {LABELS} in {', '.join(config.uris)}. "
            "Correct the address, or read it as something else with --format."
        )
    return holdings


def choose_split(held: Mapping[str, Split], config: SourceConfig) -> Split:
    """The split that `--split` names (`valid` also names `MR_valid`), or the only one.

    Raises:
        SourceError: the split does not exist, or there are several and none was chosen.
    """
    wanted, where = config.split, ", ".join(config.uris)
    fit = [name for name in held if wanted is None or name == wanted or name.endswith(f"_{wanted}")]
    if len(fit) == 1:
        return held[fit[0]]
    names = ", ".join(sorted(held)) or "none"
    if not fit:
        raise SourceError(f"{where} has no split {wanted}; it has {names}. Correct --split.")
    raise SourceError(f"{where} has the splits {names}. Choose one with --split, or give one file.")


def _is_file(address: str) -> bool:
    return storage.name(address).endswith((IMAGES_SUFFIX, *TEXT_SUFFIXES))


def _is_ours(uri: str) -> bool:
    """Whether a file is one of the authors', rather than an ordinary table with a similar name."""
    name = storage.name(uri)
    if name == LMDB_FILE:
        return bool(_LMDB.search(uri))
    if name.endswith(IMAGES_SUFFIX):
        return bool(_IMAGE_LINE.match(_first_bytes(uri)))
    return name.endswith(TEXT_SUFFIXES) and _is_text_line(_first_bytes(uri).partition(b"\n")[0])


def _is_text_line(line: bytes) -> bool:
    try:
        parse_text(line)
    except ValueError:
        return False
    return True


def _first_bytes(uri: str) -> bytes:
    try:
        return storage.read_range(uri, 0, _SNIFF_BYTES)
    except StorageError:
        return b""


def _stat(uri: str) -> ObjectInfo:
    try:
        return storage.stat(uri)
    except NotFoundError as error:
        raise absent(error) from error
