"""Planning a million records: seconds, CPU seconds and peak memory, for a table, a folder and tars.

    python -m benchmarks.plan --rows 1000000

Each plan is made in a fresh process by the function that `hanclip embed` calls, and written to a new dataset on the
local disk; imports and the model's digest are included. The source files are in the page cache if they were just
created.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from benchmarks import million
from benchmarks.child import measure
from benchmarks.reporting import Goal, Row, save

_SOURCES = {"table": million.url_table, "folder": million.folder, "tars": million.tars}
_WORKERS = 16
_GOAL_S = 60.0
_GOAL_MIB = 1024.0


def plan_here(source: str, out: str) -> None:
    """Plan in this process and print the result."""
    from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.plan.make import make_plan
    from pipeline.plan.run_ids import new_run_id

    model = resolve(ModelConfig(name="demo"))
    config = RunConfig(
        source=SourceConfig(uris=(source,)), model=ModelConfig(name="demo"), output=OutputConfig(uri=out)
    )
    plan = make_plan(config, model, new_run_id(), _WORKERS)
    print(json.dumps({"rows": plan.rows, "shards": len(plan.shards)}))


def measured(kind: str, rows: int, work: Path) -> Row:
    """One row of the table."""
    source = _SOURCES[kind](work, rows)
    with tempfile.TemporaryDirectory(dir=work) as out:
        cost = measure("-m", "benchmarks.plan", "--child", str(source), f"{out}/dataset")
        plan_bytes = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
    return {
        "source": kind,
        **json.loads(cost.printed),
        "wall_s": round(cost.wall_s, 1),
        "cpu_s": round(cost.cpu_s, 1),
        "peak_mib": round(cost.peak_mib),
        "plan_mb": round(plan_bytes / 1e6, 1),
    }


def main() -> None:
    """Measure every kind of source and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sources", nargs="+", choices=_SOURCES, default=list(_SOURCES))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    parser.add_argument("--keep", action="store_true", help="leave the sources there for the next time")
    parser.add_argument("--child", nargs=2, metavar=("SOURCE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        plan_here(*given.child)
        return
    load, rows = os.getloadavg()[0], []
    for kind in given.sources:
        rows.append(measured(kind, given.rows, given.work))
        print(rows[-1], flush=True)
    goals = [Goal(f"seconds to plan, {row['source']}", row["wall_s"], at_most=_GOAL_S) for row in rows]
    goals += [Goal(f"peak MiB while planning, {row['source']}", row["peak_mib"], at_most=_GOAL_MIB) for row in rows]
    save("plan", load, goals, rows)
    if not given.keep:
        shutil.rmtree(given.work / f"files-{given.rows}", ignore_errors=True)
        shutil.rmtree(given.work / f"tars-{given.rows}", ignore_errors=True)


if __name__ == "__main__":
    main()
