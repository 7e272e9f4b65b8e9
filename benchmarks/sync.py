"""What `hanclip sync` reads, asks and sends: a first load, no change, ten changes, a compaction, and a full comparison.

    python -m benchmarks.sync --rows 100000 1000000

Rows are written by `Dataset.write_shard`, with random vectors, and are not measured. The database is a LanceDB in a
local folder. Files opened are those of the dataset; bytes are all that the process reads, those of the database and of
scratch files included. A goal is that ten changes read no more of a dataset of ten times the rows. Exits with 1 if a
goal is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.reporting import Goal, Row, save
from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.curation.sync.run import sync, verify
from pipeline.curation.sync.settings import SyncSettings
from pipeline.dataset import Dataset
from pipeline.dataset.keys import block
from pipeline.dataset.schema import QUARANTINE
from tests.fixtures.datasets import an_identity, filled, provenance, vector_column
from tests.fixtures.opened import opened_files

_SHARD_ROWS, _CHANGES, _NIGHTS = 4096, 10, 5
_GROWTH = 1.5
_READS = ("mark", "held", "held_of")
_SENDS = ("put", "remove", "move_mark")


class SyncedShop:
    """A dataset of `rows` rows and its database."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.rows, self.found = rows, list[Row]()
        self.dataset = Dataset.open_or_create(str(folder / "out"), an_identity(has_texts=False, shard_rows=_SHARD_ROWS))
        self._settings = SyncSettings(to="lance", dest=str(folder / "lance"))
        self._runs = self._shards = 0
        self._draw = np.random.default_rng(1)
        self.night(np.arange(rows))

    def night(self, numbers: np.ndarray) -> None:
        """A run with a new state of these rows."""
        run = f"run-{self._runs:04d}"
        for first in range(0, len(numbers), _SHARD_ROWS):
            some = np.sort(numbers[first : first + _SHARD_ROWS])
            vectors = self._draw.standard_normal((len(some), self.dataset.identity.dim)).astype(np.float32)
            columns = {
                "id": pa.array([f"item-{number:09d}" for number in some]),
                "source_fingerprint": pa.repeat(f"etag-{self._runs}", len(some)),
                "image_embedding": vector_column(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),
            }
            table = filled(columns, self.dataset.identity.schema)
            name, facts = f"{self._shards:032x}", provenance(len(some), run, run)
            self.dataset.write_shard(name, "2026-11-21", table, QUARANTINE.empty_table(), facts)
            self._shards += 1
        self._runs += 1
        self.dataset.index_keys()

    def change(self) -> None:
        """A night with ten changes, all over the dataset."""
        self.night(self._draw.choice(self.rows, _CHANGES, replace=False))

    def sync(self, after: str, full: bool = False) -> Row:
        """Sync, and note its cost. Nothing is cached from before, as in a new process."""
        block._read.cache_clear()
        with opened_files(self.dataset.uri) as opened:
            began_s, cpu_s, read_bytes = time.monotonic(), time.process_time(), _bytes_read()
            done = sync(self.dataset.uri, self._settings.model_copy(update={"full": full}))
            row = {
                "rows": self.rows,
                "after": after,
                "sent": done.inserted + done.replaced,
                "read_requests": sum(done.requests.get(name, 0) for name in _READS),
                "write_requests": sum(done.requests.get(name, 0) for name in _SENDS),
                "files_opened": opened.total(),
                "read_mb": round((_bytes_read() - read_bytes) / 1e6, 1),
                "seconds": round(time.monotonic() - began_s, 2),
                "cpu_s": round(time.process_time() - cpu_s, 2),
            }
        print(row, flush=True)
        self.found.append(row)
        return row

    def agrees(self) -> bool:
        """Whether the database holds the latest state."""
        return verify(self.dataset.uri, self._settings).agrees


def _bytes_read() -> int:
    [line] = [line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar")]
    return int(line.split()[1])


def measure(rows: int, work: Path) -> tuple[list[Row], list[Goal]]:
    """All phases over a dataset of `rows`."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        shop = SyncedShop(Path(folder), rows)
        shop.sync("nothing was synced")
        unchanged = shop.sync("no change")
        shop.change()
        changed = shop.sync("10 changes")
        for _ in range(_NIGHTS):
            shop.change()
        compact_in_place(shop.dataset.uri, CompactSettings(leave_days=0, grace_hours=0, compact_above=1.0))
        compacted = shop.sync("50 changes and a compaction")
        full = shop.sync("no change, with --full", full=True)
        wrong = not shop.agrees()
    goals = [
        Goal(f"{rows:,} rows: requests that write, of syncs without a change", unchanged["write_requests"], at_most=0),
        Goal(f"{rows:,} rows: rows sent after 10 changes", changed["sent"], at_most=_CHANGES),
        Goal(f"{rows:,} rows: rows sent after 50 changes and a compaction", compacted["sent"], at_most=_NIGHTS * 10),
        Goal(f"{rows:,} rows: rows sent by a full comparison", full["sent"], at_most=0),
        Goal(f"{rows:,} rows: whether the database differs at the end", int(wrong), at_most=0),
    ]
    return shop.found, goals


def main() -> None:
    """Measure, compare sizes, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--work", type=Path, help="folder for the datasets")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    found: list[Row] = []
    goals: list[Goal] = []
    for rows in given.rows:
        some, more = measure(rows, given.work)
        found += some
        goals += more
    opened = [row["files_opened"] for row in found if row["after"] == "10 changes"]
    if len(opened) > 1:
        goals.append(
            Goal("files opened for 10 changes, most over fewest rows", opened[-1] / opened[0], at_most=_GROWTH)
        )
    save("sync", load_before, goals, found)
    sys.exit(any(not goal.met for goal in goals))


if __name__ == "__main__":
    main()
