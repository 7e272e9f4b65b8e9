"""Reads rows of tables, and the images behind their URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline import storage
from pipeline.errors import SourceError, StorageError, UnavailableError
from pipeline.records import RawRecord, Record
from pipeline.sources.contract import SourceSpec
from pipeline.sources.cursor import Cursor, Cursors
from pipeline.sources.failures import failed, read_failure
from pipeline.sources.references.image import ImageReference, parse, stored_id, too_large
from pipeline.sources.table.cells import caption_of, captions_of, image_of, text_of
from pipeline.sources.table.columns import role_names
from pipeline.sources.table.contract import RowValues, TableColumns, TableRow
from pipeline.sources.table.open import open_table
from pipeline.sources.texts import without_surrogates
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Captions, Reason, Stage

#: A container and a position in it.
_Row = tuple[str, int]


class _Parts(NamedTuple):
    """A row as read: image bytes, or their URI with its signature, which the record's URI lacks."""

    record: Record
    values: RowValues
    image: bytes | None = None
    uri: str | None = None
    text: str | None = None


class TableReader:
    """See `RecordReader`. Files stay open between calls, so a shard's next chunk continues where the last one ended."""

    def __init__(self, spec: SourceSpec) -> None:
        assert isinstance(spec.details, TableColumns)
        self._spec, self._columns = spec, spec.details
        self._policy = ReadPolicy.of(spec.config)
        # One host is waited for like any store. Of many, a few are always dead.
        hosts = None if spec.details.one_host else storage.HostHealth()
        self._image_policy = replace(self._policy, hosts=hosts)
        self._roles = list(dict.fromkeys(role_names(spec.details)))
        self._wanted = list(dict.fromkeys([*self._roles, *(name for name, _ in spec.carried)]))
        self._cursors: Cursors[TableRow] = Cursors(self._cursor)

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """See `RecordReader.read`."""
        rows, errors = self._rows(records)
        if errors and not rows and all(isinstance(error, UnavailableError) for error in errors.values()):
            raise next(iter(errors.values()))
        found = [self._parts(record, rows, errors) for record in records]
        wanted = [part.uri for part in found if isinstance(part, _Parts) and part.uri]
        images = dict(zip(wanted, storage.read_many(wanted, self._image_policy), strict=True))
        self._raise_if_down(images)
        return [self._raw(part, images) if isinstance(part, _Parts) else part for part in found]

    def close(self) -> None:
        """Close the open tables."""
        self._cursors.close()

    def _cursor(self, uri: str) -> Cursor[TableRow]:
        table = open_table(uri, self._policy)
        return Cursor(lambda position: table.rows(position, self._wanted), table.start_of)

    def _rows(self, records: Sequence[Record]) -> tuple[dict[_Row, TableRow], dict[_Row, StorageError]]:
        """Rows by container and position, and why the others could not be read."""
        places: dict[str, list[int]] = {}
        for record in records:
            places.setdefault(record.container or "", []).append(record.position or 0)
        rows: dict[_Row, TableRow] = {}
        errors: dict[_Row, StorageError] = {}
        for uri, positions in places.items():
            try:
                rows.update({(uri, position): row for position, row in self._cursors.of(uri).take(positions).items()})
            except (StorageError, SourceError) as error:
                found, lost = self._sound(uri, sorted(positions), error)
                rows.update({(uri, position): row for position, row in found.items()})
                errors.update({(uri, position): why for position, why in lost.items()})
        return rows, errors

    def _sound(
        self, uri: str, positions: Sequence[int], error: StorageError | SourceError
    ) -> tuple[dict[int, TableRow], dict[int, StorageError]]:
        """The rows of a damaged table that can be read, and why the others cannot.

        Damage hides all that follows up to the next row where reading can start. So what is lost depends on the
        table alone, not on the rows that are read together. Any other error concerns the whole table.
        """
        rows: dict[int, TableRow] = {}
        errors: dict[int, StorageError] = {}
        damaged_from = -1
        for position in positions:
            try:
                if _is_damage(error):
                    cursor = self._cursors.of(uri)
                    if cursor.start_of(position) != damaged_from:
                        damaged_from = cursor.start_of(position)
                        rows.update(cursor.take([position]))
                        damaged_from = -1
                        continue
            except (StorageError, SourceError) as new:
                error = new
            errors[position] = error if isinstance(error, StorageError) else StorageError(str(error), uri)
        return rows, errors

    def _parts(
        self, record: Record, rows: Mapping[_Row, TableRow], errors: Mapping[_Row, StorageError]
    ) -> _Parts | RawRecord:
        container, columns = record.container or "", self._columns
        place = (container, record.position or 0)
        if place in errors:
            return RawRecord(record, failure=read_failure(errors[place]))
        row = rows.get(place)
        if row is None:
            return _changed(record)
        try:
            values = row.values(self._roles, self._spec.carried)
        except ValueError as error:
            return failed(
                record, Reason.UNREADABLE, f"Row {record.position} of {container}: {error}. Run the same command again."
            )
        if columns.id and not _is_id_of(record, values.cells[columns.id], self._spec.config.captions):
            return _changed(record)
        if columns.image is None:
            return self._with_text(_Parts(record, values))
        try:
            found = image_of(values.cells[columns.image])
        except ValueError as error:
            return failed(record, Reason.BAD_URI, f"Row {record.position} of {container}: {error}. Correct the table.")
        image, written = found.data, without_surrogates(found.address)
        reference = parse(written, container) if written else None
        if columns.image_is_uri and not found.data and (reference.stored if reference else None) != record.image_uri:
            return _changed(record)
        if image is None and reference is None:
            return failed(record, Reason.MISSING_IMAGE, f"Row {record.position} of {container} has no {columns.image}.")
        return self._checked(_Parts(record, values, image, reference.uri if reference else None), reference)

    def _with_text(self, part: _Parts) -> _Parts | RawRecord:
        """The same with its text, or a failure if its cell holds none that can be embedded."""
        record, columns, how = part.record, self._columns, self._spec.config.captions
        if columns.text is None:
            return part
        try:
            captions = captions_of(part.values.cells[columns.text])
        except ValueError as error:
            detail = (
                f"Row {record.position} of {record.container}: {error}, and {columns.text} must be one. Correct it."
            )
            return failed(record, Reason.BAD_TEXT, detail, Stage.TEXT)
        if how != "rows":
            return part._replace(text=caption_of(captions, how))
        number = int(record.id.rpartition("#")[2])
        return part._replace(text=captions[number]) if number < len(captions) else _changed(record)

    def _checked(self, part: _Parts, reference: ImageReference | None) -> _Parts | RawRecord:
        """The same, with the image if the table contains it; or a failure if it cannot or must not be read."""
        limit = self._spec.config.max_image_bytes
        if reference and reference.problem:
            return failed(part.record, Reason.BAD_URI, reference.problem)
        if reference and reference.inline:
            try:
                return part._replace(image=reference.decode(limit))
            except StorageError as error:
                return RawRecord(part.record, failure=read_failure(error))
        if part.image is not None and len(part.image) > limit:
            return failed(part.record, Reason.TOO_LARGE, too_large(part.image, limit))
        return self._with_text(part)

    def _raise_if_down(self, images: Mapping[str, bytes | StorageError]) -> None:
        """Fail the shard if its bucket, disk or only host is down; of many hosts, each fails only its records."""
        down = [
            error
            for uri, error in images.items()
            if isinstance(error, UnavailableError) and (self._columns.one_host or not storage.web_host(uri))
        ]
        if down and len(down) == len(images):
            raise down[0]

    def _raw(self, part: _Parts, images: Mapping[str, bytes | StorageError]) -> RawRecord:
        image = images[part.uri] if part.uri else part.image
        if isinstance(image, StorageError):
            return RawRecord(part.record, failure=read_failure(image))
        return RawRecord(part.record, image, part.text, part.values.extra)


def _is_id_of(record: Record, cell: Any, how: Captions) -> bool:
    """Whether a record was made from a row with this id; with `--captions rows` the caption's number follows it."""
    try:
        own = stored_id(without_surrogates(text_of(cell) or ""))
    except ValueError:
        return False
    return (record.id.rpartition("#")[0] if how == "rows" else record.id) == own


def _is_damage(error: StorageError | SourceError) -> bool:
    """Whether an error comes from the content of a table, and not from its store."""
    return isinstance(error, SourceError) or type(error) is StorageError


def _changed(record: Record) -> RawRecord:
    detail = f"Row {record.position} of {record.container} changed since it was planned. Run the same command again."
    return failed(record, Reason.CHANGED, detail)
