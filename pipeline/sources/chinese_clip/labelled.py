"""Lists a labelled folder: class names in `label_cn.txt`, images in class folders `test/<class>/*.jpg`.

Line n of `label_cn.txt` names class n. The sorted class folders are the classes, as ImageFolder counts them. But if all
their names are numbers of one width (`007`), the number is the class, so a class without images shifts nothing. Each
image has the columns `label` and `label_index`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError, SourceError
from pipeline.sources.chinese_clip.holdings import LABELS
from pipeline.sources.collector import RecordCollector
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.extra import choose_extra
from pipeline.sources.names import is_image, why_not
from pipeline.sources.places.addresses import entries
from pipeline.sources.skipped import SkipTally
from pipeline.sources.texts import decode_path, decode_text

COLUMNS = pa.schema([("label", pa.string()), ("label_index", pa.int32())])

_DEFAULT_SPLIT = "test"
_MAX_LABELS_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """`SourceSpec.details` of a labelled folder: index and name of the class of each class folder."""

    classes: Mapping[str, tuple[int, str]]


def scan(config: SourceConfig, folders: Sequence[str], sink: Sink, out: str) -> SourceSpec:
    """List the images of a split; ids are paths relative to the folder.

    Raises:
        SourceError: the split does not exist, has no images, or its class folders do not match the class names.
    """
    if len(folders) > 1 or config.records not in ("auto", "images"):
        raise SourceError(
            f"{', '.join(folders)}: a folder with {LABELS} must be the only source, and its records are images. "
            "Give one such folder, without --records."
        )
    base, split = folders[0], config.split or _DEFAULT_SPLIT
    names = _class_names(storage.join(base, LABELS))
    collector, seen, tally = RecordCollector(sink, config.limit), set(), SkipTally()
    for info in entries(storage.join(base, split), out, tally.add):
        path = decode_path(storage.relative(info.uri, base))
        if is_image(info.uri) and path.count("/") > 1:
            seen.add(path.split("/")[1])
            uri = storage.storable(info.uri)
            collector.add(path, uri, None, None, None, info.size_bytes, info.fingerprint)
        else:
            tally.add(why_not(info.uri), info.uri)
    collector.flush()
    if not collector.rows:
        raise EmptySourceError(f"{storage.join(base, split)} has no images in class folders. Correct --split.")
    classes = _classes(sorted(seen), names, storage.join(base, split))
    extra = choose_extra(COLUMNS, config).schema
    details, skipped = ClassFolders(classes), tally.skipped()
    return SourceSpec("chinese-clip", config, True, False, extra, collector.rows, details, skipped=skipped)


def class_folder(record_id: str) -> str:
    """The class folder in a record's id: `007` in `test/007/a.jpg`."""
    return record_id.split("/")[1]


def _class_names(uri: str) -> list[str]:
    try:
        text = decode_text(storage.read_bytes(uri, _MAX_LABELS_BYTES))
    except UnicodeDecodeError as error:
        raise SourceError(f"{uri} is neither UTF-8 nor GB18030. Convert it to UTF-8.") from error
    return [line.strip() for line in text.splitlines()]


def _classes(folders: Sequence[str], names: Sequence[str], where: str) -> dict[str, tuple[int, str]]:
    """Index and name of each class folder."""
    numbers = all(folder.isascii() and folder.isdigit() for folder in folders)
    if numbers and len({len(folder) for folder in folders}) == 1:
        found = {folder: int(folder) for folder in folders}
    elif numbers and len(folders) > 10:
        raise SourceError(
            f"The class folders in {where} are numbers of several widths ({folders[0]} ... {folders[-1]}), which do "
            "not sort in numeric order. Give them leading zeros."
        )
    else:
        found = {folder: index for index, folder in enumerate(folders)}
        if len(folders) != len(names):
            raise SourceError(
                f"{where} has {len(folders):,} class folders and {LABELS} names {len(names):,} classes. "
                "Make the numbers equal: folder n in sorted order is the class of line n."
            )
    beyond = next((folder for folder, index in found.items() if index >= len(names)), None)
    if beyond is not None:
        raise SourceError(f"The class folder {beyond} in {where} has no line in {LABELS}, which has {len(names):,}.")
    return {folder: (index, names[index]) for folder, index in found.items()}
