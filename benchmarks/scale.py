"""Planning catalogs of 10^6 to 10^8 rows: seconds, CPU, peak memory, scratch space, and how they grow with the rows.

    python -m benchmarks.scale --rows 1000000 10000000

The source is a table with an id, a URL and a version, which is the fingerprint. Three nights are planned, each in a
fresh process by the function that `hanclip embed` calls: the first, one with nothing changed, and one in which every
thousandth row has another version. Between them the shards of a plan are committed with vectors of four numbers by the
function that writers call; that is not measured. `--nights first` plans the first night alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.child import measure
from benchmarks.reporting import Goal, Row, save

_WORKERS = 16
_DIM = 4
_GOAL_MIB = 2048.0
_GOAL_EXPONENT = 1.1
_TIMEOUT_S = 4 * 3600.0
_NIGHTS = ("first", "unchanged", "changed")
_SOURCE = """
COPY (
    SELECT printf('item-%010d', range) AS id,
           'https://images.example.com/catalog/' || (range % 997) || '/' || range || '.jpg' AS url,
           (1 + (hash(range) % 1000 < {per_mille})::INT)::INT AS version
    FROM range({rows})
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


def source(work: Path, rows: int, per_mille: int) -> Path:
    """A table of `rows` rows, of which `per_mille` in a thousand have version 2."""
    path = work / f"versions-{rows}-{per_mille}.parquet"
    if not path.exists():
        part = path.with_suffix(".part")
        with duckdb.connect(config={"memory_limit": "600MB", "threads": 1}) as connection:
            connection.execute(_SOURCE.format(rows=rows, per_mille=per_mille, path=part))
        part.rename(path)
    return path


def plan_here(table: str, out: str) -> None:
    """Plan in this process and print the result."""
    from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.plan.make import make_plan
    from pipeline.plan.run_ids import new_run_id

    model = replace(resolve(ModelConfig(name="demo")), dim=_DIM)
    config = RunConfig(
        source=SourceConfig(uris=(table,), fingerprint_column="version"),
        model=ModelConfig(name="demo"),
        output=OutputConfig(uri=out),
    )
    plan = make_plan(config, model, new_run_id(), _WORKERS)
    print(json.dumps({"planned": plan.rows, "shards": len(plan.shards)}))


def commit_here(out: str) -> None:
    """Commit the shards of the newest plan."""
    from pipeline.dataset import layout
    from pipeline.dataset.dataset import Dataset
    from pipeline.dataset.plan_files import read_shards, read_tables
    from pipeline.dataset.schema import QUARANTINE
    from pipeline.dataset.shard_file import ShardProvenance

    dataset = Dataset.open(out)
    run_id = max(layout.runs(dataset.uri))
    shards, _ = read_shards(layout.run_uri(dataset.uri, run_id))
    for shard, records in read_tables(shards):
        rows = records.num_rows
        columns = {field.name: _filler(field, rows) for field in dataset.identity.schema}
        columns |= {name: records[name] for name in ("id", "source_fingerprint", "image_uri")}
        provenance = ShardProvenance(run_id, rows, logit_scale=100.0, compute_dtype="fp32")
        dataset.write_shard(shard.shard_id, shard.run_date, pa.table(columns), QUARANTINE.empty_table(), provenance)
    print("{}")


def _filler(field: pa.Field, rows: int) -> pa.Array:
    if pa.types.is_fixed_size_list(field.type):
        width = field.type.list_size
        return pa.FixedSizeListArray.from_arrays(pa.array(np.full(rows * width, width**-0.5, np.float32)), width)
    value = "0" * 32 if pa.types.is_string(field.type) else 0
    return pa.repeat(pa.scalar(value, field.type), rows)


class _Scratch:
    """Watches the size of the temporary folder of the processes that are started inside."""

    def __init__(self, work: Path) -> None:
        self._folder, self.peak_bytes = Path(tempfile.mkdtemp(dir=work)), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Scratch:
        os.environ["TMPDIR"] = str(self._folder)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        del os.environ["TMPDIR"]
        shutil.rmtree(self._folder)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.peak_bytes = max(self.peak_bytes, sum(map(_allocated, self._folder.rglob("*"))))


def _allocated(path: Path) -> int:
    with suppress(FileNotFoundError):  # removed in the meantime
        return path.stat().st_blocks * 512
    return 0


def nights(rows: int, work: Path, which: list[str]) -> list[Row]:
    """The rows of the table for a catalog of this size."""
    measured = []
    with tempfile.TemporaryDirectory(dir=work) as out:
        for night in which:
            table = source(work, rows, 1 if night == "changed" else 0)
            # A source is known by its address, so the night's state takes the place of the one before.
            place = Path(out) / "catalog.parquet"
            place.unlink(missing_ok=True)
            place.hardlink_to(table)
            with _Scratch(work) as scratch:
                cost = measure("-m", "benchmarks.scale", "--plan", str(place), f"{out}/dataset", timeout_s=_TIMEOUT_S)
            measured.append(
                {
                    "rows": rows,
                    "night": night,
                    **json.loads(cost.printed),
                    "wall_s": round(cost.wall_s, 1),
                    "cpu_s": round(cost.cpu_s, 1),
                    "peak_mib": round(cost.peak_mib),
                    "scratch_mb": round(scratch.peak_bytes / 1e6),
                }
            )
            print(measured[-1], flush=True)
            if night == "first" and len(which) > 1:
                measure("-m", "benchmarks.scale", "--commit", f"{out}/dataset", timeout_s=_TIMEOUT_S)
    return measured


def exponents(rows: list[Row]) -> list[Goal]:
    """Growth of CPU seconds between consecutive sizes, by night."""
    goals = []
    for night in _NIGHTS:
        for small, large in pairwise(row for row in rows if row["night"] == night):
            grown = math.log(large["cpu_s"] / small["cpu_s"]) / math.log(large["rows"] / small["rows"])
            what = f"exponent of CPU seconds, {night} night, {small['rows']:,} to {large['rows']:,} rows"
            goals.append(Goal(what, round(grown, 3), at_most=_GOAL_EXPONENT))
    return goals


def main() -> None:
    """Measure every size and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--nights", nargs="+", choices=_NIGHTS, default=list(_NIGHTS))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    parser.add_argument("--plan", nargs=2, metavar=("SOURCE", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--commit", metavar="OUT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan:
        plan_here(*given.plan)
        return
    if given.commit:
        commit_here(given.commit)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    rows = [row for size in given.rows for row in nights(size, given.work, given.nights)]
    goals = exponents(rows)
    goals += [
        Goal(f"peak MiB, {row['night']} night of {row['rows']:,} rows", row["peak_mib"], at_most=_GOAL_MIB)
        for row in rows
    ]
    save("scale", load, goals, rows)


if __name__ == "__main__":
    main()
