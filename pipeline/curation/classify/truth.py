"""What images really show, where that is known: an expression over the dataset's columns, or a file of ids, in;
numbers of classes out.

Text is the name of a class, a whole number is its number (line n of the labels file, from 0). A record whose truth is
null has none; one whose truth is no class is counted, and left out of every measure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.curation.classify.labels import Classes
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError, NotFoundError, RunError
from pipeline.scratch.user_sql import require_expression
from pipeline.scratch.workspace import Workspace

Numbers = npt.NDArray[np.int64]

#: In place of a class's number: nothing is known, or what is known is none of the classes.
UNKNOWN, NO_CLASS = -1, -2
_FILES = {".parquet": "read_parquet('{}')", ".csv": "read_csv('{}', all_varchar=true)"}
_FILES[".tsv"] = _FILES[".csv"]


class Truth:
    """Tells the classes of blocks of rows.

    Attributes:
        columns: columns of the dataset that it must be given.
    """

    def __init__(self, given: str, dataset: Dataset, classes: Classes, work: Workspace) -> None:
        """Parse `given`: a column, SQL over columns, or a Parquet, CSV or TSV file. Raises ConfigError."""
        self.given = given
        self.columns: tuple[str, ...] = ()
        self._classes, self._work = classes, work
        if Path(given).suffix.lower() in _FILES:
            self._value, self._join = "known.truth", "LEFT JOIN known USING (id)"
            self._open_file()
        else:
            self._value, self._join = self._expression(dataset.identity.schema), ""
        self.of(dataset.identity.schema.empty_table().select(["id", *self.columns]))

    def of(self, rows: pa.Table) -> Numbers:
        """The class of each of B rows, UNKNOWN or NO_CLASS; raises ConfigError."""
        self._work.register("block", rows.append_column("_row", pa.array(np.arange(rows.num_rows))))
        sql = f"SELECT {self._value} AS truth FROM block {self._join} ORDER BY _row"
        try:
            tables = [pa.Table.from_batches([batch]) for batch in self._work.batches(sql)]
        except RunError as error:
            raise ConfigError(f"--truth {self.given} cannot be computed: {error.__cause__}") from error
        values = pa.concat_tables(tables)["truth"] if tables else pa.chunked_array([], pa.null())
        if len(values) != rows.num_rows:
            raise ConfigError(
                f"--truth {self.given} gives {len(values)} values for {rows.num_rows} rows: give one each."
            )
        return self._numbers(values)

    def _numbers(self, values: pa.ChunkedArray) -> Numbers:
        kind = values.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            numbers = self._by_name(values)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
            try:
                numbers = values.cast(pa.int64())
            except pa.ArrowInvalid as error:
                raise ConfigError(f"--truth {self.given} gives fractions: give a label or its number.") from error
        else:
            raise ConfigError(f"--truth {self.given} gives values of type {kind}: give a label or its number.")
        told = np.asarray(pc.fill_null(numbers, UNKNOWN).to_numpy(), np.int64)
        known = values.is_valid().to_numpy()
        inside = (told >= 0) & (told < len(self._classes))
        return np.where(known, np.where(inside, told, NO_CLASS), UNKNOWN)

    def _by_name(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Numbers of named classes, NO_CLASS for other names; a name that two classes have tells neither."""
        number: dict[str, int] = {}
        shared: set[str] = set()
        for i, names in enumerate(self._classes.synonyms):
            for name in names:
                shared.update({name} & number.keys())
                number.setdefault(name, i)
        told = values.cast(pa.string())
        if shared and (met := pc.unique(told.filter(pc.is_in(told, pa.array(sorted(shared))))).to_pylist()):
            raise ConfigError(
                f"--truth {self.given} says {met[0]!r}, which several lines of the labels file do: give the number of "
                "the line, from 0, as the truth."
            )
        at = pc.index_in(told, pa.array(list(number)))
        return pc.fill_null(pc.take(pa.array(number.values(), pa.int64()), at), NO_CLASS)

    def _expression(self, schema: pa.Schema) -> str:
        """SQL of the value; every column whose name occurs in it is read."""
        if self.given in schema.names:
            self.columns = (self.given,)
            return '"' + self.given.replace('"', '""') + '"'
        self.columns = tuple(
            name for name in schema.names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.given, re.IGNORECASE)
        )
        if not self.columns:
            raise ConfigError(
                f"--truth {self.given} is neither a file (.parquet, .csv, .tsv) nor a column of the dataset, and names "
                f"none. Its columns: {', '.join(_short(schema))}."
            )
        require_expression(self.given, "--truth", self._work)
        return f"({self.given}\n)"

    def _open_file(self) -> None:
        """Make the table `known` of `id` and `truth`."""
        suffix = Path(self.given).suffix.lower()
        local = Path(self._work.path(f"truth{suffix}"))
        try:
            local.write_bytes(storage.read_bytes(storage.normalise(self.given)))
        except NotFoundError as error:
            raise ConfigError(f"There is no file {self.given}: check --truth.") from error
        source = _FILES[suffix].format(str(local).replace("'", "''"))
        try:
            names = {row[0] for row in self._work.rows(f"DESCRIBE SELECT * FROM {source}")}
            value = next((name for name in ("label_index", "label") if name in names), None)
            if "id" not in names or value is None:
                raise ConfigError(
                    f"{self.given} has the columns {', '.join(sorted(names))}: it needs id, and label or label_index."
                )
            # A label may look like a number, and is none; a number may come as text.
            kind = "VARCHAR" if value == "label" else "BIGINT"
            sql = f"SELECT id::VARCHAR AS id, {value}::{kind} AS truth FROM {source}"
            self._work.execute(f"CREATE TABLE known AS {sql}")
            twice = self._work.rows("SELECT id FROM known GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 1")
        except RunError as error:
            raise ConfigError(f"{self.given} cannot be read as a table: {error.__cause__}") from error
        if twice:
            raise ConfigError(f"{self.given} says twice what {twice[0][0]} is: leave one line for each id.")


def _short(schema: pa.Schema) -> Sequence[str]:
    return [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
