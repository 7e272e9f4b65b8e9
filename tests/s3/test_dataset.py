"""Plan, commit, retry, verify and report the status of a dataset in a bucket, on a real S3 server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path

import pytest

from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset.checks.status import status
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.errors import AlreadyExistsError, UnavailableError
from pipeline.plan.draft import Plan
from pipeline.plan.make import make_plan, make_retry_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.storage import ReadPolicy
from tests.fixtures.catalogs import Catalog, planned_ids, shard_ids, skus
from tests.fixtures.datasets import (
    FakeModel,
    an_identity,
    carry_out,
    embedded_rows,
    provenance,
    quarantined_rows,
    some_records,
)
from tests.fixtures.documents import blocks
from tests.fixtures.places import ROOT
from tests.fixtures.servers.s3 import FaultyProxy, S3Server


def test_a_catalog_is_planned_committed_retried_verified_and_queried_in_a_bucket(
    s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{s3.bucket()}/out"
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(1200))
    config = RunConfig(source=catalog.config().source, output=OutputConfig(uri=out))

    def plan() -> Plan:
        return make_plan(config, FakeModel(), new_run_id(), 2)

    first = plan()
    carry_out(first, {"sku-000001": "timeout"}, slice(0, 1))
    second = plan()
    assert shard_ids(second) == shard_ids(first)[1:]
    carry_out(second)
    assert plan().rows == 0
    again = make_retry_plan(config, FakeModel(), new_run_id(), out, ["timeout"])
    assert planned_ids(again) == ["sku-000001"]
    assert status(out).quarantined == {"timeout": 1}
    carry_out(again)
    report = verify(out)
    assert (report.planned, report.embedded, report.quarantined, report.missing) == (1200, 1200, 0, 0)
    assert report.ok
    assert report.leftovers == ()
    assert status(out).rows == 1200
    [query] = blocks(ROOT / "docs" / "tutorials" / "bucket.md", "python")
    exec(compile(query.replace("s3://hanclip/demo", out), "bucket.md", "exec"), {})
    assert capsys.readouterr().out.count("sku-") == 5


def test_a_dataset_in_a_bucket_is_compacted_in_place(s3: S3Server, tmp_path: Path) -> None:
    out = f"{s3.bucket()}/out"
    catalog = Catalog(tmp_path)
    config = RunConfig(source=catalog.config().source, output=OutputConfig(uri=out))
    for night in range(4):
        catalog.write(f"part-{night}", {f"night-{night}-{number}": "A" for number in range(30)})
        carry_out(make_plan(config, FakeModel(), new_run_id(), 2), {f"night-{night}-7": "timeout"})
    before = sorted(latest(out, ["id", "similarity"]).read_all().to_pylist(), key=itemgetter("id"))
    settings = CompactSettings(leave_days=0, grace_hours=0)
    done = compact_in_place(out, settings)
    assert (done.files, done.files_after, done.waiting) == (4, 1, 4)
    assert sorted(latest(out, ["id", "similarity"]).read_all().to_pylist(), key=itemgetter("id")) == before
    assert compact_in_place(out, settings).deleted == 8, "four shards with their quarantine"
    report = verify(out)
    assert (report.shards, report.planned, report.embedded, report.quarantined, report.missing) == (1, 120, 116, 4, 0)
    assert report.ok
    assert report.leftovers == ()
    assert make_plan(config, FakeModel(), new_run_id(), 2).rows == 0


def test_one_of_several_racing_writers_wins_in_a_bucket(s3: S3Server) -> None:
    dataset = Dataset.open_or_create(f"{s3.bucket()}/out", an_identity())
    records, shard_id = some_records(20), f"{5:032x}"

    def write(failed: int) -> bool:
        try:
            dataset.write_shard(
                shard_id,
                "2026-11-21",
                embedded_rows(records[failed:], dataset.identity),
                quarantined_rows(records[:failed]),
                provenance(20),
            )
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = [failed for failed, wins in zip([1, 2, 3, 4], pool.map(write, [1, 2, 3, 4]), strict=True) if wins]
    assert len(won) == 1
    assert (dataset.embeddings().count_rows(), dataset.quarantine().count_rows()) == (20 - won[0], won[0])


def test_a_commit_is_retried_for_the_configured_time(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(3))
    source = catalog.config().source.model_copy(update={"retry_timeout_s": 0.0, "read_timeout_s": 0.5})
    config = RunConfig(source=source, output=OutputConfig(uri=f"{s3.bucket()}/out"))
    plan = make_plan(config, FakeModel(), new_run_id(), 1)
    assert plan.dataset.policy == ReadPolicy.of_commits(source)
    assert plan.dataset.policy.timeout_s == SourceConfig().read_timeout_s
    proxy = FaultyProxy(s3.endpoint)
    proxy.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    proxy.faults.extend([503] * 100)
    records = some_records(3)
    table, aside = embedded_rows(records[1:], plan.dataset.identity), quarantined_rows(records[:1])
    with pytest.raises(UnavailableError):
        plan.dataset.write_shard(f"{7:032x}", "2026-11-21", table, aside, provenance(3))
    assert len(proxy.faults) == 99
    proxy.stop()
