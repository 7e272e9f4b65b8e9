"""What files of several origins state in their footers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import joined_values
from pipeline.dataset.outcomes import footers_of
from pipeline.dataset.schema import QUARANTINE
from pipeline.snapshot.compact import compact
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records


def test_values_are_joined_once() -> None:
    assert joined_values(["bf16,fp32", "fp32", "none"]) == "bf16,fp32"
    assert joined_values([]) == "none"


def test_a_snapshot_states_each_number_format_once(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for number, formats in enumerate(("bf16,fp32", "fp32")):
        table = embedded_rows(some_records(3, first=3 * number), dataset.identity)
        facts = replace(provenance(3), compute_dtype=formats)
        dataset.write_shard(f"{number:032x}", "2026-11-21", table, QUARANTINE.empty_table(), facts)
    compact(dataset.uri, str(tmp_path / "snapshot"))
    [footer] = footers_of(Dataset.open(str(tmp_path / "snapshot")).files(), 9)
    assert footer["compute_dtype"] == "bf16,fp32"
