"""A scratch folder with a DuckDB connection, to sort and join records in bounded memory.

Data beyond `memory_mb` spills to the folder, which is removed at the end. Joins and groups of whole catalogs go through
`passes`, since their hash tables spill only up to a limit. DuckDB is imported by the first workspace: decoders and
writers import modules that use one, and use none themselves.
"""

from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import HanclipError, RunError
from pipeline.faults import explained
from pipeline.scratch.folder import ScratchFolder
from pipeline.scratch.quoting import quoted

if TYPE_CHECKING:
    import pyarrow.dataset as pads

BATCH_ROWS = 65536
_MEMORY_MB = 384
#: How DuckDB reports a full disk: when it writes a file, and when it spills.
_FULL_DISK = ("No space left on device", "max_temp_directory_size")
_THREADS = 2
#: Below this, a thread's own buffers leave no memory to the query.
_THREAD_MB = 192
#: A group of four columns takes about 100 bytes; hash tables of ten times the memory still spill.
_ROWS_PER_MB = 2**14
#: Of a table in which single values are looked up. Smaller groups take longer, for there are more of them.
_SORTED_GROUP_ROWS = 8192
#: Of DuckDB's decimals.
_DECIMAL_DIGITS = 38


class Workspace:
    """Use as a context manager. Methods raise RunError when DuckDB or Arrow fails.

    Attributes:
        rows_at_once: rows that a hash join or an aggregate can take in.
    """

    def __init__(self, memory_mb: int = _MEMORY_MB) -> None:
        import duckdb  # see the module

        self.rows_at_once = memory_mb * _ROWS_PER_MB
        with scratch_errors():
            self._scratch = ScratchFolder()
        self.folder = self._scratch.path
        self._duck = duckdb.connect(
            config={
                "memory_limit": f"{memory_mb}MB",
                "threads": max(1, min(_THREADS, memory_mb // _THREAD_MB)),
                "temp_directory": str(self.folder / "spill"),
                "preserve_insertion_order": False,
            }
        )
        self._duck.execute("SET TimeZone = 'UTC'")  # not that of the machine: a rule has one meaning

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._duck.close()
        self._scratch.remove()

    def path(self, name: str) -> str:
        """Path of a file in the scratch folder."""
        return str(self.folder / name)

    def view(self, name: str, *paths: str) -> None:
        """Make local Parquet files available to queries as the table `name`."""
        files = ", ".join(map(quoted, paths))
        self.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{files}])")

    def store(self, name: str, sql: str) -> None:
        """Store the result of a query in the scratch folder as the table `name`."""
        path = self.path(f"{name}.parquet")
        self.copy(sql, path)
        self.view(name, path)

    def sort(self, name: str, sql: str, column: str) -> None:
        """Store the result of a query as the table `name`; a join with a few values of `column` reads little of it."""
        path = self.path(f"{name}.parquet")
        self.copy(f"SELECT * FROM ({sql}) ORDER BY {column}", path, f", ROW_GROUP_SIZE {_SORTED_GROUP_ROWS}")
        self.view(name, path)

    def copy(self, sql: str, path: str, more: str = "") -> None:
        """Write the result of a query to a local Parquet file, with `more` options."""
        self.execute(f"COPY ({sql}) TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd{more})")

    def ranges(self, column: str, rows: int) -> Iterator[str]:
        """Conditions that divide a table by a column from 0 to `rows` into parts that a hash join can take, in order.

        Files that are sorted by the column are read once in all.
        """
        for first in range(0, rows, self.rows_at_once):
            yield f"{column} >= {first} AND {column} < {first + self.rows_at_once}"

    def register(self, name: str, rows: pads.Dataset | pa.Table | pa.RecordBatchReader) -> None:
        """Make `rows` available to queries as the table `name`; only the columns and rows that they need are read.

        One query can read a RecordBatchReader, once.
        """
        self._duck.register(name, rows)

    def execute(self, sql: str) -> None:
        """Run a statement without a result."""
        with scratch_errors(self.folder):
            self._duck.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        with scratch_errors(self.folder):
            return self._duck.sql(sql).fetchall()  # type: ignore[no-any-return]

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """A large result as a stream of batches."""
        with scratch_errors(self.folder):
            yield from self.reader(sql)

    @contextmanager
    def within(self, limit_s: float, too_slow: HanclipError) -> Iterator[None]:
        """Interrupt queries that still run after `limit_s` seconds, and raise `too_slow` then."""
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            self._duck.interrupt()

        timer = threading.Timer(min(limit_s, threading.TIMEOUT_MAX), stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except HanclipError as error:
            if not expired.is_set():
                raise
            raise too_slow from error
        finally:
            timer.cancel()
        if expired.is_set():  # a query of one long call ends before it can be interrupted
            raise too_slow

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """A large result as a reader, which raises the errors of DuckDB and Arrow: see `scratch_errors`."""
        return self._duck.sql(sql).to_arrow_reader(BATCH_ROWS)


@contextmanager
def scratch_errors(folder: Path | None = None) -> Iterator[None]:
    """Raise RunError in place of the errors of DuckDB, Arrow and the disk while the scratch folder is used."""
    import duckdb  # see the module

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        full = OSError(errno.ENOSPC, "") if any(sign in str(error) for sign in _FULL_DISK) else error
        if known := explained(full, str(folder or "")):
            raise known from error
        place = folder or tempfile.gettempdir()
        first = str(error).partition("\n")[0]  # then DuckDB advises on settings that users cannot reach
        raise RunError(
            f"A query over the records failed: {first}. If a compaction deleted a file meanwhile, run the same command "
            f"again; else check the free space in the temporary folder ({place}; TMPDIR moves it), and the dataset "
            "with `hanclip verify`."
        ) from error


def widened(kind: pa.DataType) -> pa.DataType:
    """A type that DuckDB reads from Arrow: float32 for float16, and for decimals of 256 bits those of 128 or float64.

    Types inside of lists, structs and maps are replaced as well.
    """
    types = pa.types
    if types.is_float16(kind):
        return pa.float32()
    if types.is_decimal256(kind):
        fits = kind.precision <= _DECIMAL_DIGITS and 0 <= kind.scale <= kind.precision
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.float64()
    if types.is_struct(kind):
        return pa.struct([field.with_type(widened(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(widened(kind.key_type), widened(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(widened(kind.value_type), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(widened(kind.value_type))
    return pa.list_(widened(kind.value_type)) if types.is_list(kind) else kind
