"""Reads the ground truth of a classification.

In: an SQL expression over the dataset's columns, or a file with ids and labels. Out: numbers of classes. A text is the
name of a class; an integer is its number (line n of the labels file, from 0). A null means that the truth is unknown.
Records whose truth is none of the classes are counted, but left out of every measure.
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
from pipeline.scratch.quoting import quoted, quoted_name
from pipeline.scratch.user_sql import require_expression
from pipeline.scratch.workspace import Workspace

ClassNumbers = npt.NDArray[np.int64]

#: Special class numbers: the truth is unknown, or is none of the classes.
UNKNOWN, NO_CLASS = -1, -2
_FILES = {".parquet": "read_parquet({})", ".csv": "read_csv({}, all_varchar=true)"}
_FILES[".tsv"] = _FILES[".csv"]


class GroundTruth:
    """The true classes of a dataset's rows.

    Attributes:
        columns: columns of the dataset that are needed to compute them.
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

    def of(self, rows: pa.Table) -> ClassNumbers:
        """(B,) the class of each row, UNKNOWN or NO_CLASS. Raises ConfigError."""
        self._work.register("block", rows.append_column("_row", pa.array(np.arange(rows.num_rows))))
        sql = f"SELECT {self._value} AS truth FROM block {self._join} ORDER BY _row"
        try:
            tables = [pa.Table.from_batches([batch]) for batch in self._work.batches(sql)]
        except RunError as error:
            raise ConfigError(f"--truth {self.given} cannot be computed: {error.__cause__}\nCorrect it.") from error
        values = pa.concat_tables(tables)["truth"] if tables else pa.chunked_array([], pa.null())
        if len(values) != rows.num_rows:
            raise ConfigError(
                f"--truth {self.given} gives {len(values)} values for {rows.num_rows} rows: give one value per row."
            )
        return self._numbers(values)

    def _numbers(self, values: pa.ChunkedArray) -> ClassNumbers:
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
        filled = np.asarray(pc.fill_null(numbers, UNKNOWN).to_numpy(), np.int64)
        known = values.is_valid().to_numpy()
        inside = (filled >= 0) & (filled < len(self._classes))
        return np.where(known, np.where(inside, filled, NO_CLASS), UNKNOWN)

    def _by_name(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Numbers of the named classes, NO_CLASS for other names. Raises ConfigError for a name of two classes."""
        number: dict[str, int] = {}
        shared: set[str] = set()
        for i, synonyms in enumerate(self._classes.synonyms):
            for name in synonyms:
                shared.update({name} & number.keys())
                number.setdefault(name, i)
        names = values.cast(pa.string())
        if shared and (ambiguous := pc.unique(names.filter(pc.is_in(names, pa.array(sorted(shared))))).to_pylist()):
            raise ConfigError(
                f"--truth {self.given} contains {ambiguous[0]!r}, which is on several lines of the labels file: give "
                "the number of the line, from 0, instead of the name."
            )
        position = pc.index_in(names, pa.array(list(number)))
        return pc.fill_null(pc.take(pa.array(number.values(), pa.int64()), position), NO_CLASS)

    def _expression(self, schema: pa.Schema) -> str:
        """The SQL of the value. Every column whose name occurs in it is read."""
        if self.given in schema.names:
            self.columns = (self.given,)
            return quoted_name(self.given)
        self.columns = tuple(
            name for name in schema.names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.given, re.IGNORECASE)
        )
        if not self.columns:
            raise ConfigError(
                f"--truth {self.given} is neither a file (.parquet, .csv, .tsv) nor a column of the dataset, nor SQL "
                f"over its columns. Choose among the columns {', '.join(_scalars(schema))}."
            )
        require_expression(self.given, "--truth", self._work)
        return f"({self.given}\n)"

    def _open_file(self) -> None:
        """Create the table `known` of `id` and `truth`."""
        suffix = Path(self.given).suffix.lower()
        local = Path(self._work.path(f"truth{suffix}"))
        try:
            local.write_bytes(storage.read_bytes(storage.normalise(self.given)))
        except NotFoundError as error:
            raise ConfigError(f"There is no file {self.given}: check --truth.") from error
        source = _FILES[suffix].format(quoted(str(local)))
        try:
            names = {row[0] for row in self._work.rows(f"DESCRIBE SELECT * FROM {source}")}
            value = next((name for name in ("label_index", "label") if name in names), None)
            if "id" not in names or value is None:
                raise ConfigError(
                    f"{self.given} has the columns {', '.join(sorted(names))}: it needs id, and label or label_index."
                )
            # A label that looks like a number is still a label, and a number may be stored as text.
            kind = "VARCHAR" if value == "label" else "BIGINT"
            sql = f"SELECT id::VARCHAR AS id, {value}::{kind} AS truth FROM {source}"
            self._work.execute(f"CREATE TABLE known AS {sql}")
            twice = self._work.rows("SELECT id FROM known GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 1")
        except RunError as error:
            raise ConfigError(
                f"{self.given} cannot be read as a table: {error.__cause__}\nCorrect the file."
            ) from error
        if twice:
            raise ConfigError(f"{self.given} has several lines for the id {twice[0][0]}: leave one line for each id.")


def _scalars(schema: pa.Schema) -> Sequence[str]:
    return [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
