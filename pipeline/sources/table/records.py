"""Makes the records of one table file.

Ids come from a column, else from the image URI as written, else from `<file>#<row>`. A record's fingerprint comes from
the column named by the user, else is a hash of image URI and text, or for image bytes the file's fingerprint and row.
With `--captions rows` a row is a record for each of its captions, with `#0`, `#1`, ... after its id.

Records are stored, so their ids and image URIs carry no credentials: a presigned URL loses its query, and the reader
takes the full URL from the table again. A URL that is signed again is still the same record. An image that is in the
text itself is stored as a short marker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from pipeline import storage
from pipeline.errors import SourceError
from pipeline.sources.collector import RecordCollector
from pipeline.sources.references.image import parse, stored_id
from pipeline.sources.table.cells import caption_of, captions_of, image_of, text_of
from pipeline.sources.table.contract import TableColumns, TableFile
from pipeline.storage import ObjectInfo
from pipeline.vocabulary import Captions


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A table being scanned; `name` is its name in ids, and `hosts` takes those of its images ("": no web host)."""

    info: ObjectInfo
    name: str
    table: TableFile
    columns: TableColumns
    captions: Captions
    hosts: set[str]


class _Image(NamedTuple):
    """A reference to an image as written, and what records store of it."""

    written: str | None = None
    stored: str | None = None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a file as records, column by column; with `--captions rows` a row of the file can be several.

    Attributes:
        rows: their numbers in the file.
        ids: of the id column; None if there is none.
        images: the texts and meanings of image references; None if the image column holds bytes, or there is none.
        texts, marks: of the text and fingerprint columns.
        suffixes: what follows the ids.
    """

    rows: list[int]
    ids: list[Any] | None
    images: list[_Image] | None
    texts: list[str | None]
    marks: list[Any] | None
    suffixes: list[str]


def collect(file: ListedFile, collector: RecordCollector) -> Counter[str]:
    """Collect the rows; counts those with a text, with several captions and with several images."""
    columns, start, counts = file.columns, 0, Counter[str]()
    image = columns.image if columns.image_is_uri else None
    names = [name for name in (columns.id, image, columns.text, columns.fingerprint) if name]
    size_bytes = None if image or not columns.image else file.table.mean_bytes(columns.image)
    for batch in file.table.scan(list(dict.fromkeys(names))):
        first, start = start, start + len(next(iter(batch.values())))
        found = _rows(file, first, start, batch, counts)
        count, nothing = len(found.rows), [None] * len(found.rows)
        uris = _uris(file, found)
        ids, fingerprints = _ids(file, found), _fingerprints(file, found, uris)
        collector.add_columns(
            ids, uris, nothing, [file.info.uri] * count, found.rows, [size_bytes] * count, fingerprints
        )
        counts["texts"] += sum(text is not None for text in found.texts) if columns.text else 0
        if collector.full:
            break
    return counts


def _rows(file: ListedFile, first: int, stop: int, batch: dict[str, list[Any]], counts: Counter[str]) -> _Rows:
    columns = file.columns
    nothing: list[str | None] = [None]
    captions = [_captions(cell) for cell in batch[columns.text]] if columns.text else [nothing] * (stop - first)
    images = None
    if columns.image and columns.image_is_uri:
        images = [_image(cell, file, row, counts) for row, cell in enumerate(batch[columns.image], first)]
    counts["captions"] += sum(len(some) > 1 for some in captions)
    ids = batch[columns.id] if columns.id else None
    marks = batch[columns.fingerprint] if columns.fingerprint else None
    if file.captions != "rows":
        texts = [caption_of(some, file.captions) for some in captions]
        return _Rows(list(range(first, stop)), ids, images, texts, marks, [""] * len(texts))
    places = [(place, number) for place, some in enumerate(captions) for number in range(len(some))]

    def spread(values: list[Any] | None) -> list[Any] | None:
        return None if values is None else [values[place] for place, _ in places]

    texts = [captions[place][number] for place, number in places]
    rows = [first + place for place, _ in places]
    return _Rows(rows, spread(ids), spread(images), texts, spread(marks), [f"#{number}" for _, number in places])


def _captions(cell: Any) -> list[str | None]:
    """The captions of a cell; one that cannot be a text fails when it is read."""
    try:
        return captions_of(cell)
    except ValueError:
        return [repr(cell)]


def _image(cell: Any, file: ListedFile, row: int, counts: Counter[str]) -> _Image:
    """The reference in a cell; one that cannot be an image fails when it is read."""
    try:
        found = image_of(cell)
    except ValueError:
        return _Image()
    counts["images"] += found.others > 0
    if found.address is None:
        return _Image(stored=f"{file.info.uri}#{row}" if found.data else None)
    written = found.address.encode("utf-8", "replace").decode()
    reference = parse(written, file.info.uri)
    if reference and reference.uri and len(file.hosts) < 2:
        file.hosts.add(storage.web_host(reference.uri))
    return _Image(written, reference.stored) if reference else _Image()


def _ids(file: ListedFile, found: _Rows) -> list[str]:
    if found.ids is not None:
        named = [stored_id(value) for value in _strings(file, file.columns.id, found.rows, found.ids)]
    else:
        images = found.images or [_Image()] * len(found.rows)
        pairs = zip(images, found.rows, strict=True)
        named = [stored_id(image.written) if image.written else f"{file.name}#{row}" for image, row in pairs]
    return [f"{value}{suffix}" for value, suffix in zip(named, found.suffixes, strict=True)]


def _strings(file: ListedFile, name: str | None, rows: Sequence[int], values: Sequence[Any]) -> list[str]:
    """A column without nulls, as text."""
    texts = []
    for value, row in zip(values, rows, strict=True):
        try:
            text = text_of(value)
        except ValueError as error:
            raise SourceError(f"Row {row} of {file.info.uri}: {error}, and {name} must be one. Correct it.") from error
        if not text:
            where = f"Row {row} of {file.info.uri}, counted from 0,"
            raise SourceError(f"{where} has no {name}. Fill it in, or name another column.")
        texts.append(text)
    return texts


def _uris(file: ListedFile, found: _Rows) -> list[str | None]:
    if found.images is None:
        own = f"{file.info.uri}#"
        return [f"{own}{row}" for row in found.rows] if file.columns.image else [None] * len(found.rows)
    return [image.stored for image in found.images]


def _fingerprints(file: ListedFile, found: _Rows, uris: Sequence[str | None]) -> list[str]:
    if found.marks is not None:
        marks = _strings(file, file.columns.fingerprint, found.rows, found.marks)
        pairs = zip(marks, found.texts, strict=True)
        return [_mark(mark, text) for mark, text in pairs] if file.columns.text else marks
    if file.columns.image and found.images is None:
        return [f"{file.info.fingerprint}-{row}" for row in found.rows]
    return [_digest(uri, text) for uri, text in zip(uris, found.texts, strict=True)]


def _mark(mark: str, text: str | None) -> str:
    """The user's fingerprint covers the image alone, so the text is hashed into the record's."""
    return f"{mark}+{_digest(None, text)[:16]}"


def _digest(uri: str | None, text: str | None) -> str:
    return blake2b(f"{uri}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
