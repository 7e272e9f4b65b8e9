"""Produces the rows of a split as images, texts or pairs, from text files or LMDB folders.

    images   id = image id       container, position, size: the line of the TSV; or container: the LMDB folder
    texts    id = text id        text_uri: the line of the JSON lines, `file#offset+bytes`; or `pairs#key`
    pairs    id = text id:image id, both of these

An invalid line is a record too: its id is its place in the file, and it fails when it is read. Joins run in DuckDB, so
a split of any size fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.records import RECORDS
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace
from pipeline.sources.chinese_clip.holdings import Split
from pipeline.sources.chinese_clip.lines import fingerprint, image_id, lines_of, text_line
from pipeline.sources.chinese_clip.lmdb_folder import LmdbFolder, opened
from pipeline.sources.chinese_clip.pickled_pair import LmdbPair, parse_pair
from pipeline.sources.collector import RecordCollector
from pipeline.sources.skipped import SkipTally
from pipeline.storage import ReadPolicy, name
from pipeline.vocabulary import Skip


class RecordRow(NamedTuple):
    """A row of `records.RECORDS`."""

    id: str
    image_uri: str | None
    text_uri: str | None
    container: str
    position: int | None
    size_bytes: int | None
    fingerprint: str


class SplitRows:
    """`notes` lists what is damaged, `skipped` what was left out; complete once all rows were consumed."""

    def __init__(self, split: Split, policy: ReadPolicy) -> None:
        self._split, self._policy = split, policy
        self.notes: list[str] = []
        self.skipped = SkipTally()

    def images(self) -> Iterator[RecordRow]:
        """One row per image."""
        if self._split.images is None:
            yield from self._lmdb_images()
            return
        uri = self._split.images.uri
        for line in lines_of(uri, self._policy):
            place = (uri, line.position, line.size_bytes, line.fingerprint)
            try:
                key = image_id(line.data)
            except ValueError:
                yield RecordRow(_damaged(uri, line.position), None, None, *place)
            else:
                yield RecordRow(key, f"{uri}#{key}", None, *place)

    def texts(self) -> Iterator[RecordRow]:
        """One row per text, although LMDB has a text once for each of its images."""
        if self._split.texts is None:
            yield from self._once(self._lmdb_texts)
            return
        yield from self._text_rows(lambda text_id, image_ids: [(text_id, None)])

    def pairs(self) -> Iterator[RecordRow]:
        """One row per pair, joined on disk. A repeated pair counts once."""
        in_files = self._split.images is not None and self._split.texts is not None
        with Workspace() as work:
            _spool(work, "images", self.images() if in_files else self._lmdb_images())
            _spool(work, "pairs", self._file_pairs() if in_files else self._lmdb_pairs())
            [(alone, first)] = work.rows(
                "SELECT count(*), min(image_uri) FROM images ANTI JOIN pairs USING (image_uri)"
            )
            if alone:
                self.skipped.add(Skip.LONE_IMAGE, first, alone)
            yield from _rows(work, _JOINED)

    def _file_pairs(self) -> Iterator[RecordRow]:
        assert self._split.images is not None
        images = self._split.images.uri

        def named(text_id: str, image_ids: tuple[str, ...]) -> list[tuple[str, str | None]]:
            if not image_ids:
                self.skipped.add(Skip.LONE_TEXT, text_id)
            return [(f"{text_id}:{key}", f"{images}#{key}") for key in image_ids]

        yield from self._text_rows(named)

    def _text_rows(self, named: Callable[[str, tuple[str, ...]], list[tuple[str, str | None]]]) -> Iterator[RecordRow]:
        """Rows of the JSON lines; `named` returns the id and image URI of each row that a line produces."""
        assert self._split.texts is not None
        uri = self._split.texts.uri
        for line in lines_of(uri, self._policy):
            place = (uri, line.position, line.size_bytes, line.fingerprint)
            text_uri = f"{uri}#{line.position}+{line.size_bytes}"
            try:
                found = text_line(line.data)
            except ValueError:
                yield RecordRow(_damaged(uri, line.position), None, text_uri, *place)
            else:
                for id_, image_uri in named(found.text_id, found.image_ids):
                    yield RecordRow(id_, image_uri, text_uri, *place)

    def _lmdb_images(self) -> Iterator[RecordRow]:
        folder = self._split.lmdb_images or ""
        with opened(folder) as held:
            rows = 0
            for key, value in held.items():
                rows += 1
                id_ = _key(key, folder)
                yield RecordRow(id_, f"{folder}#{id_}", None, folder, None, len(value), fingerprint(value))
            self._check_count(held, rows, folder)

    def _lmdb_pairs(self) -> Iterator[RecordRow]:
        images = self._split.lmdb_images
        yield from self._pair_rows(
            lambda pair, value: (f"{pair.text_id}:{pair.image_id}", f"{images}#{pair.image_id}", fingerprint(value))
        )

    def _lmdb_texts(self) -> Iterator[RecordRow]:
        yield from self._pair_rows(lambda pair, value: (pair.text_id, None, text_fingerprint(pair)))

    def _pair_rows(self, row: Callable[[LmdbPair, bytes], tuple[str, str | None, str]]) -> Iterator[RecordRow]:
        folder, rows = self._split.lmdb_pairs or "", 0
        with opened(folder) as held:
            for key, value in held.items():
                rows += 1
                text_uri = f"{folder}#{_key(key, folder)}"
                try:
                    id_, image_uri, mark = row(parse_pair(value), value)
                except ValueError:
                    id_, image_uri, mark = f"{name(folder)}#{key.decode()}", None, fingerprint(value)
                yield RecordRow(id_, image_uri, text_uri, folder, None, len(value), mark)
            self._check_count(held, rows, folder)

    def _once(self, rows: Callable[[], Iterator[RecordRow]]) -> Iterator[RecordRow]:
        with Workspace() as work:
            _spool(work, "texts", rows())
            yield from _rows(work, _DISTINCT)

    def _check_count(self, held: LmdbFolder, rows: int, folder: str) -> None:
        declared = held.count()
        if declared is not None and declared != rows:
            self.notes.append(f"{folder} declares {declared:,} entries, but holds {rows:,}.")


_JOINED = """
SELECT p.id, p.image_uri, min(p.text_uri) AS text_uri, coalesce(i.container, p.container) AS container,
       CASE WHEN i.id IS NULL THEN min(p.position) ELSE i.position END AS position,
       CASE WHEN i.id IS NULL THEN min(p.size_bytes) ELSE i.size_bytes END AS size_bytes,
       coalesce(i.source_fingerprint || '+', '') || p.source_fingerprint AS source_fingerprint
FROM pairs AS p LEFT JOIN images AS i USING (image_uri)
GROUP BY p.id, p.image_uri, p.container, p.source_fingerprint,
         i.id, i.container, i.position, i.size_bytes, i.source_fingerprint
"""
_DISTINCT = """
SELECT id, any_value(image_uri) AS image_uri, min(text_uri) AS text_uri, any_value(container) AS container,
       min(position) AS position, min(size_bytes) AS size_bytes, source_fingerprint
FROM texts GROUP BY id, source_fingerprint
"""


def _spool(work: Workspace, table: str, rows: Iterator[RecordRow]) -> None:
    with Spool(work, table, RECORDS) as spool:
        collector = RecordCollector(lambda batch: spool.add(pa.Table.from_batches([batch])), None)
        for row in rows:
            collector.add(*row)
        collector.flush()


def _rows(work: Workspace, sql: str) -> Iterator[RecordRow]:
    for batch in work.batches(sql):
        columns: list[list[Any]] = [batch.column(field).to_pylist() for field in RECORDS.names]
        yield from (RecordRow(*values) for values in zip(*columns, strict=True))


def _damaged(uri: str, position: int) -> str:
    """The id of a record for a line without an id."""
    return f"{name(uri)}#{position}"


def _key(key: bytes, folder: str) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{folder} has a key that is not UTF-8: {key!r}. Rebuild it.") from error


def text_fingerprint(pair: LmdbPair) -> str:
    """The fingerprint of a text, the same from whichever of its pairs it is read."""
    return fingerprint(f"{pair.text_id}\0{pair.text}".encode("utf-8", "surrogatepass"))
