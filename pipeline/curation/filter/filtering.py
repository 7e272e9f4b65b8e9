"""Filters a dataset: finds the latest rows that pass every rule, and the rule that dropped each other row.

In: a dataset and rules. Out: the tables `kept.parquet` and `dropped.parquet` in `OUT/filter/<name>/`, which together
hold every latest row exactly once, and their counts in `Filtered`. `kept` is written last and its footer holds the
rules, so its presence means that both are complete. The same rules over the same rows give the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.curation.filter.counts import FilterCounts, first_of, numbers_of
from pipeline.curation.filter.judge import FAILED, ROW, UNKNOWN, Judge
from pipeline.curation.filter.rules import FilterRule
from pipeline.curation.filter.threshold import CutOff, Threshold, column_of, find_cut
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, counted
from pipeline.scratch.workspace import Workspace

#: The phase that takes as long as the dataset is large, however long rules may take.
READING = "Reading rows"
KEPT = pa.schema([pa.field(name, pa.string(), nullable=False) for name in KEY])
DROPPED = pa.schema(
    [
        *KEPT,
        pa.field("rule", pa.string(), nullable=False),
        pa.field("rules", pa.list_(pa.string()), nullable=False),
        pa.field("unknown", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Filtered:
    """The result of a filter.

    Attributes:
        out: the dataset.
        counts: rows kept, and dropped by each rule.
        cut: the cut-off, if one was requested; it is the last rule.
        digest: identifies the set of kept rows, independent of their order.
    """

    out: str
    counts: FilterCounts
    cut: CutOff | None
    digest: str

    def facts(self) -> dict[str, Any]:
        """Facts for the footers of the tables."""
        return {
            "rules": [{"name": rule.name, "sql": rule.sql} for rule in self.counts.rules],
            "rows": self.counts.rows,
            "kept": self.counts.kept,
            "dropped": self.counts.dropped,
            "counts": [asdict(rule) for rule in self.counts.rules],
        }


def tables_folder(out: str, name: str) -> str:
    """Folder of the tables of the filter `name`."""
    return storage.join(out, "filter", name)


@contextmanager
def filtering(
    out: str,
    rules: Sequence[FilterRule],
    threshold: Threshold | None,
    on_phase: OnPhase,
    also: Sequence[str] = (),
    limit_s: float = 600,
) -> Iterator[tuple[Filtered, Workspace]]:
    """Apply rules to the latest rows of `out`. Nothing is written to the dataset.

    In the block, the workspace has the tables `rows` (the key, ROW, and those columns of `also` that the dataset has)
    and `judged`.

    Raises:
        UsageError: a rule is wrong, or a table that it needs is missing or stale.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    dataset = Dataset.open(out)
    ids = next((rule.ids for rule in rules if rule.ids is not None), None)
    with Workspace() as work, Judge(dataset, work, limit_s, ids) as judge:
        on_phase("Checking rules", 0, None)
        checked = judge.check(rules)
        column = column_of(threshold, judge) if threshold else None
        columns = [column for rule in checked for column in rule.columns] + ([column] if column else [])
        names = [name for name in also if name in dataset.identity.schema.names]
        on_phase(READING, 0, None)
        judge.load(columns, names, counted(on_phase, READING))
        cut = None
        if threshold and column:
            judge.values(column, checked)
            cut = find_cut(threshold, column, work)
        checked += judge.check([cut.rule]) if cut else []
        on_phase("Judging rows", 0, judge.total)
        counts = judge.judge(checked)
        [(digest,)] = work.rows(_DIGEST)
        yield Filtered(dataset.uri, counts, cut, f"{counts.kept}-{int(digest or 0):032x}"), work


#: Independent of the order of the rows.
_DIGEST = f"""
SELECT bit_xor(md5_number(id || chr(10) || source_fingerprint)) FROM judged WHERE {FAILED} = 0
"""


def write_tables(folder: str, filtered: Filtered, work: Workspace) -> None:
    """Write `kept.parquet` and `dropped.parquet` to `folder`. Raises StorageError."""
    names = [rule.name for rule in filtered.counts.rules]
    order = f"SELECT * FROM judged WHERE {FAILED} {{}} 0 ORDER BY {ROW}"
    dropped = (_dropped(batch, names) for batch in work.batches(order.format("<>")))
    write_table(storage.join(folder, "dropped.parquet"), DROPPED, dropped, filtered.facts())
    kept = (batch.select(KEPT.names) for batch in work.batches(order.format("=")))
    write_table(storage.join(folder, "kept.parquet"), KEPT, kept, filtered.facts())


def _dropped(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Table:
    failed, unknown = batch[FAILED].to_pylist(), batch[UNKNOWN].to_pylist()
    columns = {
        **{name: batch[name] for name in KEY},
        "rule": pa.array([names[first_of(mask)] for mask in failed], pa.string()),
        "rules": pa.array([[names[n] for n in numbers_of(mask)] for mask in failed], pa.list_(pa.string())),
        "unknown": pa.array([[names[n] for n in numbers_of(mask)] for mask in unknown], pa.list_(pa.string())),
    }
    return pa.table(columns)
