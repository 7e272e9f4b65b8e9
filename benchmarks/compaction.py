"""A year of nights that each change 0.1 % of the rows, with a compaction in place now and then.

Synthetic rows, committed as a run commits them. After each compaction the files are counted, and the latest state is
compared with a dictionary that the same changes were made to. Exits with 1 if a goal is missed.

python -m benchmarks.compaction --nights 365 --every 7
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from datetime import date, timedelta

from benchmarks.reporting import Goal, Row, save
from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.dataset import Dataset, latest
from pipeline.dataset.schema import QUARANTINE
from pipeline.records import Record
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, quarantined_rows

SETTINGS = CompactSettings(leave_days=0, grace_hours=0)
_SHARD_ROWS = 512
_FIRST = date(2026, 1, 1)


class Year:
    """A dataset and what its latest state should be: fingerprints by id, None for an id whose newest state failed."""

    def __init__(self, out: str, rows: int, seed: int = 7) -> None:
        self.dataset = Dataset.open_or_create(out, an_identity(shard_rows=_SHARD_ROWS))
        self.expected: dict[str, str | None] = {}
        self._random, self._shards = random.Random(seed), 0
        for first in range(0, rows, _SHARD_ROWS):
            self._commit(0, [f"item-{i:06d}" for i in range(first, min(rows, first + _SHARD_ROWS))])

    def night(self, number: int, changes: int) -> None:
        """One shard with new states of some ids; one in twenty of them fails."""
        self._commit(number, sorted(self._random.sample(sorted(self.expected), changes)))

    def is_right(self) -> bool:
        """Whether the latest state is the expected one."""
        table = latest(self.dataset.uri, ["id", "source_fingerprint"]).read_all()
        found = dict(zip(table["id"].to_pylist(), table["source_fingerprint"].to_pylist(), strict=True))
        wanted = {id_: fingerprint for id_, fingerprint in self.expected.items() if fingerprint is not None}
        return table.num_rows == len(found) and found == wanted

    def _commit(self, number: int, ids: list[str]) -> None:
        records = [Record(id_, f"s3://shop/{id_}.jpg", None, None, None, 100, f"night-{number}") for id_ in ids]
        failed = [record for record in records if number and self._random.random() < 0.05]
        good = [record for record in records if record not in failed]
        day = _FIRST + timedelta(days=number)
        run_id = f"{day:%Y%m%d}T043000.000Z-000000"
        self.dataset.write_shard(
            f"{self._shards:032x}",
            day.isoformat(),
            embedded_rows(good, self.dataset.identity),
            quarantined_rows(failed) if failed else QUARANTINE.empty_table(),
            provenance(len(records), run_id),
        )
        self._shards += 1
        self.expected |= {record.id: record.source_fingerprint for record in good}
        self.expected |= dict.fromkeys((record.id for record in failed), None)


def main() -> None:
    """Let the nights pass, compact, compare, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--every", type=int, default=7, help="nights between two compactions")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        year, rows, wrong = Year(f"{folder}/out", given.rows), list[Row](), 0
        before_files = len(year.dataset.files())
        for night in range(1, given.nights + 1):
            year.night(night, given.rows // 1000)
            if night % given.every == 0:
                began_s, began_cpu_s = time.monotonic(), time.process_time()
                done = compact_in_place(year.dataset.uri, SETTINGS)
                rows.append(
                    {
                        "night": night,
                        "files": done.files,
                        "files_after": done.files_after,
                        "ideal_files": done.ideal_files,
                        "rows_moved": done.rows,
                        "seconds": round(time.monotonic() - began_s, 3),
                        "cpu_s": round(time.process_time() - began_cpu_s, 3),
                    }
                )
                wrong += not year.is_right()
    changed = given.nights * (given.rows // 1000)
    goals = [
        Goal("files after a compaction, times the ideal", max(r["files_after"] / r["ideal_files"] for r in rows), 1.5),
        Goal("compactions with another latest state", wrong, 0),
    ]
    details = {
        "files_without_compaction": before_files + given.nights,
        "rows_written_again_per_changed_row": sum(row["rows_moved"] for row in rows) / changed,
    }
    save("compaction", load_before, goals, rows, **details)
    sys.exit(0 if all(goal.met for goal in goals) else 1)


if __name__ == "__main__":
    main()
