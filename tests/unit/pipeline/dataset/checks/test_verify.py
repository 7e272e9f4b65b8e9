"""`verify` reports missing, duplicated and damaged rows and nothing else; `status` counts rows, runs and quarantine."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.checks.status import status
from pipeline.dataset.checks.verify import Report, verify
from pipeline.errors import IdentityError
from tests.fixtures.catalogs import Catalog, skus
from tests.fixtures.datasets import carry_out, vector_column


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(1500))
    return catalog


def counts(report: Report) -> dict[str, int]:
    names = ("planned", "embedded", "quarantined", "missing", "replaced", "abandoned", "duplicated", "unplanned")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def data_files(catalog: Catalog) -> list[Path]:
    return sorted((catalog.out / "embeddings").rglob("*.parquet"))


def tamper(path: Path, table: pa.Table) -> None:
    """Replace the rows of a committed file and keep its footer metadata."""
    metadata = pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(
            {k.decode(): v.decode() for k, v in metadata.items() if k.startswith(b"hanclip.")}
        )


def replace_vector(path: Path, row: int, vector: np.ndarray) -> None:
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index("image_embedding")
    matrix = table["image_embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 8).copy()
    matrix[row] = vector
    tamper(path, table.set_column(at, table.schema.field(at), vector_column(matrix).cast(table.schema.field(at).type)))


def test_a_finished_dataset_is_complete_and_ok(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000001": "timeout", "sku-000002": "not_found"})
    report = verify(str(catalog.out))
    assert counts(report) == {"planned": 1500, "embedded": 1498, "quarantined": 2}
    assert report.ok
    assert report.complete
    assert report.problems == report.leftovers == ()


def test_an_unfinished_dataset_is_incomplete_but_not_corrupt(catalog: Catalog) -> None:
    plan = catalog.plan()
    carry_out(plan, shards=slice(0, 1))
    report = verify(str(catalog.out))
    assert report.ok
    assert not report.complete
    assert report.missing == 1500 - plan.shards[0].rows


def test_without_commits_every_row_is_missing(catalog: Catalog) -> None:
    catalog.plan()
    assert counts(verify(str(catalog.out))) == {"planned": 1500, "missing": 1500}


def test_a_missing_dataset_is_reported(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="no dataset"):
        verify(str(tmp_path))


def test_a_retried_record_counts_once_with_its_latest_outcome(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000001": "timeout", "sku-000002": "timeout"})
    carry_out(catalog.retry("timeout"), {"sku-000002": "not_found"})
    assert counts(verify(str(catalog.out))) == {"planned": 1500, "embedded": 1499, "quarantined": 1}
    assert status(str(catalog.out)).quarantined == Counter(not_found=1)


def test_records_changed_or_removed_before_their_commit_are_abandoned(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, shards=slice(0, 1))
    done = first.shards[0].rows
    catalog.write("part-0", skus(done + 1), changed=skus(done + 1)[done:])
    plan = catalog.plan()
    assert counts(verify(str(catalog.out)))["missing"] == plan.rows == 1
    carry_out(plan)
    report = verify(str(catalog.out))
    assert counts(report) == {"planned": done + 1, "embedded": done + 1, "abandoned": 1500 - done}
    assert report.complete


def test_an_image_replaced_under_its_id_is_another_record(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    catalog.write("part-0", skus(1500), changed=["sku-000003"])
    carry_out(catalog.plan())
    assert counts(verify(str(catalog.out))) == {"planned": 1501, "embedded": 1501}


def test_a_deleted_row_is_reported(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    path = data_files(catalog)[0]
    tamper(path, pq.read_table(path, partitioning=None).slice(1))
    report = verify(str(catalog.out))
    assert report.missing == 1
    assert [path.name in problem and "rows, its footer states" in problem for problem in report.problems] == [True]


def test_rows_of_a_deleted_file_are_missing(catalog: Catalog) -> None:
    plan = catalog.plan()
    carry_out(plan)
    data_files(catalog)[0].unlink()
    report = verify(str(catalog.out))
    assert report.missing in {shard.rows for shard in plan.shards}
    assert report.ok


def test_a_copied_file_is_reported(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    path = data_files(catalog)[0]
    path.with_name("f" * 32 + ".parquet").write_bytes(path.read_bytes())
    report = verify(str(catalog.out))
    rows = pq.read_metadata(path).num_rows
    assert report.duplicated == rows
    assert any("not the shard in its name" in problem for problem in report.problems)
    assert any(problem.startswith(f"{rows} surplus rows") for problem in report.problems)


def test_a_shard_committed_under_two_dates_is_reported(catalog: Catalog) -> None:
    carry_out(catalog.plan("2026-11-21"))
    path = data_files(catalog)[0]
    other = path.parent.with_name("run_date=2026-11-29") / path.name
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    report = verify(str(catalog.out))
    assert report.problems == (
        f"Shard {path.stem} is committed under 2 dates: delete all its files except those of the first date.",
    )


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (np.array([np.nan, 0, 0, 0, 0, 0, 0, 0]), "image_embedding is not finite in 1 rows"),
        (np.full(8, np.inf), "image_embedding is not finite in 1 rows"),
        (np.full(8, 0.5), "image_embedding does not have norm 1 in 1 rows"),
        (np.full(8, 8**-0.5), "similarity is not the dot product of the vectors in 1 rows"),
    ],
)
def test_a_wrong_vector_is_reported(catalog: Catalog, vector: np.ndarray, expected: str) -> None:
    carry_out(catalog.plan())
    replace_vector(data_files(catalog)[0], 3, vector)
    assert any(expected in problem for problem in verify(str(catalog.out)).problems)


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_truncated_file_is_reported_and_its_rows_are_missing(catalog: Catalog, keep: float) -> None:
    plan = catalog.plan()
    carry_out(plan)
    path = data_files(catalog)[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data) if keep < 1 else keep)])
    report = verify(str(catalog.out))
    assert len(report.problems) == 1
    assert path.name in report.problems[0]
    assert report.missing in {shard.rows for shard in plan.shards}


def test_corrupt_bytes_in_a_page_are_reported(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    path = data_files(catalog)[0]
    column = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    at = column.data_page_offset + column.total_compressed_size // 2
    data[at : at + 8] = bytes(8 * [255])
    path.write_bytes(bytes(data))
    assert any(path.name in problem for problem in verify(str(catalog.out)).problems)


def test_a_missing_column_in_a_file_is_reported(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    path = data_files(catalog)[0]
    tamper(path, pq.read_table(path, partitioning=None).drop(["image_phash"]))
    assert any(", the dataset has [" in problem for problem in verify(str(catalog.out)).problems)


def test_a_lost_quarantine_file_is_reported(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000001": "timeout"})
    (file,) = (catalog.out / "_quarantine").rglob("*.parquet")
    file.unlink()
    report = verify(str(catalog.out))
    assert report.missing == 1
    assert any("has 1 quarantined records, but its quarantine file has 0" in problem for problem in report.problems)


def test_leftovers_are_listed_and_harmless(catalog: Catalog) -> None:
    carry_out(catalog.plan("2026-11-21"))
    left = catalog.out / "_quarantine" / "run_date=2026-11-21" / f"{data_files(catalog)[0].stem}-0badcafe.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1")
    note = catalog.out / "embeddings" / "notes.txt"
    note.write_text("hello")
    report = verify(str(catalog.out))
    assert report.ok
    assert set(report.leftovers) == {str(left), str(note)}


def test_rows_without_a_plan_are_reported(catalog: Catalog) -> None:
    plan = catalog.plan()
    carry_out(plan)
    Path(plan.uri, "plan.parquet").unlink()
    report = verify(str(catalog.out))
    assert report.unplanned == 1500
    assert any("are in no plan under _runs/" in problem for problem in report.problems)


def test_status_counts_rows_runs_and_quarantine(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, {"sku-000001": "timeout", "sku-000002": "not_found"}, slice(0, 2))
    Path(first.uri, "summary.json").write_text(json.dumps({"state": "stopped", "run_id": first.run_id}))
    second = catalog.plan()
    found = status(str(catalog.out))
    assert [(run.run_id, run.state) for run in found.runs] == [(second.run_id, "planned"), (first.run_id, "stopped")]
    assert found.runs[1].report["run_id"] == first.run_id
    newest = status(str(catalog.out), runs=1)
    assert (newest.runs, newest.earlier_runs, found.earlier_runs) == (found.runs[:1], 1, 0)
    assert found.shards == 2
    assert found.rows == sum(shard.rows for shard in first.shards[:2]) - 2
    assert found.quarantined == Counter(timeout=1, not_found=1)
    assert found.size_bytes == sum(path.stat().st_size for path in data_files(catalog))
    assert found.identity == first.dataset.identity


def test_a_fixed_quarantined_record_is_no_longer_counted(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000001": "not_an_image", "sku-000002": "not_an_image"})
    assert status(str(catalog.out)).examples == {"not_an_image": "sku-000001"}
    catalog.write("part-0", skus(1500), changed=["sku-000001"])
    fixed = catalog.plan()
    retry = catalog.retry("not_an_image")
    assert retry.source.notes == ("1 record changed since the failure: `hanclip embed` embeds it.",)
    carry_out(fixed)
    for _again in range(2):
        found, report = status(str(catalog.out)), verify(str(catalog.out))
        assert (found.rows, found.quarantined, found.examples) == (
            1499,
            {"not_an_image": 1},
            {"not_an_image": "sku-000002"},
        )
        assert counts(report) == {"planned": 1500, "embedded": 1499, "quarantined": 1, "replaced": 1}
        assert report.ok
        assert catalog.retry("not_an_image").source.notes == ()


def test_a_retry_without_matches_lists_the_existing_reasons(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000001": "not_found"})
    assert catalog.retry("timeout").source.notes == (
        "No quarantined record has reason timeout; there are: not_found 1.",
    )
    assert (catalog.retry().rows, catalog.retry().source.notes) == (1, ())


@pytest.mark.parametrize("skew", [timedelta(minutes=-7), timedelta(hours=2), timedelta(0)])
def test_status_reports_the_time_of_the_last_progress_by_the_clock_of_the_run(
    catalog: Catalog, skew: timedelta
) -> None:
    plan = catalog.plan()
    then = (datetime.now(UTC) + skew).isoformat(timespec="seconds")
    Path(plan.uri, "progress.json").write_text(json.dumps({"state": "running", "at": then}))
    (run,) = status(str(catalog.out)).runs
    assert run.reported_at == then
    Path(plan.uri, "summary.json").write_text(json.dumps({"state": "complete"}))
    assert status(str(catalog.out)).runs[0].reported_at == ""


def test_status_without_plan_files_counts_rows_from_the_footers(catalog: Catalog) -> None:
    plan = catalog.plan()
    carry_out(plan)
    Path(plan.uri, "plan.parquet").unlink()
    assert status(str(catalog.out)).rows == 1500
