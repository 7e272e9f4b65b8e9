"""What a night costs over a large dataset, and over one with a long history: no model, real plans and real files.

    python -m benchmarks.history --rows 1000000 10000000     # a night without a change, and one with 0.1 % changed
    python -m benchmarks.history --nights 300                # 20,000 rows, 20 changed every night

A night is a plan over the whole catalog by the function that `hanclip embed` calls, and the end of its run: the index
of keys and the counts. Shards are written by `Dataset.write_shard` in between, with vectors of zeros, and are not
measured. Files opened are those of the dataset; bytes are all that the process reads, the source and scratch files
included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.child import measure
from benchmarks.reporting import Goal, Row, save
from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset import history as plans
from pipeline.dataset.checks.held import count_held
from pipeline.dataset.keys import block
from pipeline.dataset.plan_files import read_tables
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import ShardProvenance
from pipeline.plan.draft import Plan
from pipeline.plan.make import make_plan
from pipeline.plan.run_ids import new_run_id
from tests.fixtures.datasets import FakeModel, filled
from tests.fixtures.opened import opened_files

_WORKERS = 16
_NIGHT_ROWS, _NIGHT_CHANGED = 20_000, 20
_GROWTH = 1.3
_BATCH = 500_000


def write_catalog(path: Path, rows: int, night: int, step: int) -> None:
    """A table of ids, addresses and etags; of every `step` rows one changes each night."""
    with pq.ParquetWriter(path, _CATALOG) as writer:
        for first in range(0, rows, _BATCH):
            numbers = range(first, min(first + _BATCH, rows))
            ids = [f"item-{number:09d}" for number in numbers]
            etags = [f"etag-{_changed(number * 7919, night, step)}" for number in numbers]
            urls = [f"https://images.example.com/{number}.jpg" for number in numbers]
            writer.write_table(pa.table([ids, urls, etags], schema=_CATALOG))


def _changed(number: int, night: int, step: int) -> int:
    """The last night in which a row changed; 0 if none."""
    return max(0, night - (night - number) % step) if step else 0


_CATALOG = pa.schema([("sku", pa.string()), ("url", pa.string()), ("etag", pa.string())])


def plan_night(catalog: str, out: str) -> Plan:
    """Plan a night over the whole catalog."""
    source = SourceConfig(
        uris=(catalog,), id_column="sku", image_column="url", fingerprint_column="etag", whole_catalog=True
    )
    return make_plan(RunConfig(source=source, output=OutputConfig(uri=out)), FakeModel(), new_run_id(), _WORKERS)


def commit(plan: Plan) -> None:
    """Write the shards of a plan."""
    for shard, records in read_tables(plan.shards):
        columns = {name: records[name] for name in ("id", "image_uri", "source_fingerprint")}
        vectors = pa.FixedSizeListArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.float32()), records.num_rows * plan.dataset.identity.dim),
            plan.dataset.identity.dim,
        )
        table = filled({**columns, "image_embedding": vectors}, plan.dataset.identity.schema)
        provenance = ShardProvenance(plan.run_id, shard.rows, 100.0, "fp32", shard.planned_by)
        plan.dataset.write_shard(shard.shard_id, shard.run_date, table, QUARANTINE.empty_table(), provenance)


def end_night(plan: Plan) -> None:
    """What a complete run does at its end."""
    plan.dataset.index_keys()
    count_held(plan.dataset.uri)


@contextmanager
def _measured(out: str, row: Row, phase: str) -> Iterator[None]:
    """Add the cost of a phase to `row`. Nothing is cached from before, as in a new process."""
    plans._read.cache_clear()
    block._read.cache_clear()
    with opened_files(out) as opened:
        began_s, cpu_s, read_bytes = time.monotonic(), time.process_time(), _bytes_read()
        yield
        row[f"{phase}_s"] = round(time.monotonic() - began_s, 2)
        row[f"{phase}_cpu_s"] = round(time.process_time() - cpu_s, 2)
        row[f"{phase}_read_mb"] = round((_bytes_read() - read_bytes) / 1e6, 1)
        row[f"{phase}_opened"] = opened.total()


def _bytes_read() -> int:
    [line] = [line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar")]
    return int(line.split()[1])


def night_here(catalog: str, out: str) -> None:
    """Plan, commit and end one night in this process, and print its cost."""
    row: Row = {}
    with _measured(out, row, "plan"):
        plan = plan_night(catalog, out)
    commit(plan)
    with _measured(out, row, "end"):
        end_night(plan)
    print(json.dumps({"planned": plan.rows, **row}))


def scale(rows: int, work: Path) -> list[Row]:
    """A night without a change, and one with 0.1 % changed, over a dataset of `rows`."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory(dir=work) as folder:
        catalog, out = Path(folder, "catalog.parquet"), f"{folder}/out"
        for kind, night, step in (("first", 0, 0), ("no change", 0, 0), ("0.1 %", 1, 1000)):
            write_catalog(catalog, rows, night, step)
            cost = measure("-m", "benchmarks.history", "--child", str(catalog), out, timeout_s=7200)
            row = {"rows": rows, "night": kind, **json.loads(cost.printed), "peak_mib": round(cost.peak_mib)}
            row["files"] = sum(1 for _ in Path(out, "embeddings").rglob("*.parquet"))
            print(row, flush=True)
            found.append(row)
    return found


def nights(count: int, work: Path) -> list[Row]:
    """Many nights over a small dataset."""
    found: list[Row] = []
    step = _NIGHT_ROWS // _NIGHT_CHANGED
    with tempfile.TemporaryDirectory(dir=work) as folder:
        catalog, out = Path(folder, "catalog.parquet"), f"{folder}/out"
        for night in range(count + 1):
            write_catalog(catalog, _NIGHT_ROWS, night, step)
            row: Row = {"night": night}
            with _measured(out, row, "plan"):
                plan = plan_night(str(catalog), out)
            commit(plan)
            with _measured(out, row, "end"):
                end_night(plan)
            found.append({**row, "planned": plan.rows, "files": len(plan.dataset.files())})
            if night % 50 == 1:
                print(found[-1], flush=True)
    return found


def _median(rows: list[Row], value: Callable[[Row], float]) -> float:
    return statistics.median(map(value, rows))


def _report_nights(found: list[Row], load: float) -> None:
    """Compare the first nights after the first run with the last ones."""
    first, last = found[1:6], found[-5:]
    goals = []
    for what, value in (
        ("CPU seconds", lambda row: row["plan_cpu_s"] + row["end_cpu_s"]),
        ("files opened", lambda row: row["plan_opened"] + row["end_opened"]),
    ):
        ratio = _median(last, value) / _median(first, value)
        goals.append(Goal(f"{what}, night {last[-1]['night']} / night 1 (medians of five)", ratio, at_most=_GROWTH))
    shown = [row for row in found if row["night"] in (0, 1, 2, 10, 30, 100, 200, 300)]
    save("history-nights", load, goals, shown, all=found)


def _report_scale(found: list[Row], load: float) -> None:
    """The exponents of growth between the smallest and the largest dataset."""
    goals = []
    for kind in ("no change", "0.1 %"):
        of_kind = [row for row in found if row["night"] == kind]
        small, large = of_kind[0], of_kind[-1]
        for what in ("plan_cpu_s", "end_cpu_s", "peak_mib"):
            if large["rows"] > small["rows"] and small[what] > 0:
                exponent = math.log(large[what] / small[what]) / math.log(large["rows"] / small["rows"])
                goals.append(Goal(f"exponent of {what} over rows, {kind}", exponent, at_most=1.05))
    save("history-scale", load, goals, found)


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[])
    parser.add_argument("--nights", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    parser.add_argument("--child", nargs=2, metavar=("CATALOG", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        night_here(*given.child)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    if given.nights:
        _report_nights(nights(given.nights, given.work), load)
    if given.rows:
        _report_scale([row for rows in sorted(given.rows) for row in scale(rows, given.work)], load)


if __name__ == "__main__":
    main()
