"""Nights of scattered changes: files that each night adds, against the least number, and seconds to plan.

    python -m benchmarks.packing --rows 40000 --shard-rows 512 --nights 10

Each night changes 1 % of the rows of a table of texts, chosen at random, and plans with the function that `hanclip
embed` calls. The plan's shards are committed as real Parquet files with constant vectors. Then the unchanged source is
planned again. `touched` counts the parts of the source with a change: as many files as a night added when each part
kept its own shard.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.reporting import Goal, Row, save
from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
from pipeline.dataset import layout
from pipeline.dataset.plan_files import read_tables
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import ShardProvenance
from pipeline.model.checkpoints import resolve
from pipeline.plan.cuts.known import read_known
from pipeline.plan.draft import Plan
from pipeline.plan.listing import source_digest
from pipeline.plan.make import make_plan
from pipeline.plan.run_ids import new_run_id

_SHARE = 0.01
_WORKERS = 16


class Catalog:
    """A table of texts that changes, and the dataset of its runs."""

    def __init__(self, folder: Path, rows: int, shard_rows: int) -> None:
        self._table = folder / "texts.parquet"
        self._versions = np.zeros(rows, np.int32)
        self._model = resolve(ModelConfig(name="demo"))
        self.config = RunConfig(
            source=SourceConfig(uris=(str(self._table),), fingerprint_column="version"),
            model=ModelConfig(name="demo"),
            output=OutputConfig(uri=str(folder / "out"), shard_rows=shard_rows),
        )

    def change(self, rows: list[int]) -> None:
        """Change these rows and write the table."""
        self._versions[rows] += 1
        ids = [f"item-{number:09d}" for number in range(len(self._versions))]
        columns = {"id": ids, "text": [f"text of {id_}" for id_ in ids], "version": self._versions}
        pq.write_table(pa.table(columns), self._table)

    def plan(self) -> tuple[Plan, float]:
        """A stored plan, and the CPU seconds that it took."""
        began = time.process_time()
        plan = make_plan(self.config, self._model, new_run_id(), _WORKERS)
        return plan, time.process_time() - began

    def touched(self) -> int:
        """Parts of the source that the newest plan had to do, and that are no shards themselves."""
        return len(read_known(self.config.output.uri, source_digest(self.config)).planned)


def commit(plan: Plan) -> None:
    """Commit every shard of a plan, with vectors along the first axis."""
    schema = plan.dataset.identity.schema
    for shard, records in read_tables(plan.shards):
        vectors = np.zeros((shard.rows, plan.dataset.identity.dim), np.float32)
        vectors[:, 0] = 1
        columns = {
            "id": records["id"],
            "text": records["id"],
            "text_embedding": pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1]),
            "source_fingerprint": records["source_fingerprint"],
            "version": pa.nulls(shard.rows, pa.int32()),
        }
        provenance = ShardProvenance(plan.run_id, shard.rows, 100.0, "fp32", shard.planned_by)
        table = pa.table({name: columns[name] for name in schema.names})
        plan.dataset.write_shard(shard.shard_id, shard.run_date, table, QUARANTINE.empty_table(), provenance)


def night(catalog: Catalog, name: str, rows: list[int], shard_rows: int) -> Row:
    """Change rows, plan, commit, and plan again."""
    catalog.change(rows)
    plan, plan_s = catalog.plan()
    touched = catalog.touched()
    commit(plan)
    again, again_s = catalog.plan()
    return {
        "night": name,
        "rows": plan.rows,
        "files": len(plan.shards),
        "least": -(-plan.rows // shard_rows),
        "touched": touched,
        "files_in_all": len(layout.data_files(catalog.config.output.uri, layout.EMBEDDINGS)),
        "plan_cpu_s": round(plan_s, 2),
        "again_shards": len(again.shards),
        "again_cpu_s": round(again_s, 2),
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--shard-rows", type=int, default=512)
    parser.add_argument("--nights", type=int, default=10)
    given = parser.parse_args()
    load, dice = os.getloadavg()[0], random.Random(given.rows)
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder), given.rows, given.shard_rows)
        rows = [night(catalog, "first", [], given.shard_rows)]
        for number in range(1, given.nights + 1):
            changed = dice.sample(range(given.rows), round(given.rows * _SHARE))
            rows.append(night(catalog, str(number), changed, given.shard_rows))
            print(rows[-1], flush=True)
    added, least = (sum(row[key] for row in rows[1:]) for key in ("files", "least"))
    goals = [
        Goal("files of all nights / the least number", added / least, at_most=2),
        Goal("shards of plans over an unchanged source", sum(row["again_shards"] for row in rows), at_most=0),
    ]
    save("packing", load, goals, rows)


if __name__ == "__main__":
    main()
