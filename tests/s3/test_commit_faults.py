"""Create-only writes to a store that answers HTTP 409, loses answers, repeats requests, or refuses what is free.

Every refusal carries other statuses and codes in its text: none of them decides anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.dataset.dataset import Dataset
from pipeline.errors import AlreadyExistsError, CommittedError, RunError, UnavailableError
from pipeline.storage import ReadPolicy
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, quarantined_rows, some_records
from tests.fixtures.servers.odd_bucket import OddBucket, serving

POLICY = ReadPolicy.of(SourceConfig(read_timeout_s=2, retry_timeout_s=20))
IMPATIENT = replace(POLICY, retry_timeout_s=0.5)
KEY = "out/non-2xx status code: 404 x.json"
SHARD, DAY = f"{5:032x}", "2026-11-21"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddBucket]:
    with serving(OddBucket(), monkeypatch) as bucket:
        assert storage.supports_create(bucket.address)
        bucket.requests.clear()
        yield bucket


@pytest.mark.parametrize(
    ("puts", "requests"),
    [
        ([409], ["PUT", "HEAD", "PUT"]),
        ([412], ["PUT", "HEAD", "PUT"]),
        (["drop"], ["PUT", "PUT"]),
        ([503], ["PUT", "PUT"]),
        (["lose"], ["PUT", "PUT", "GET"]),
        (["lose", 409], ["PUT", "PUT", "GET"]),
        (["drop", 409], ["PUT", "PUT", "GET", "PUT"]),
    ],
)
def test_a_free_name_is_taken_once_whatever_the_store_answers(
    bucket: OddBucket, puts: list[str | int], requests: list[str]
) -> None:
    bucket.faults["PUT"] = deque(puts)
    storage.create(f"{bucket.address}/{KEY}", b"mine", POLICY)
    assert bucket.objects[KEY] == b"mine"
    assert [request.split()[0] for request in bucket.requests] == requests


@pytest.mark.parametrize(
    ("puts", "reads"), [([], []), ([409], []), (["drop"], [503]), (["lose"], [404]), ([503, 409], [403])]
)
def test_a_name_that_another_writer_took_stays_theirs(
    bucket: OddBucket, puts: list[str | int], reads: list[str | int]
) -> None:
    bucket.objects[KEY] = b"theirs"
    bucket.faults |= {"PUT": deque(puts), "HEAD": deque(reads), "GET": deque(reads)}
    with pytest.raises(AlreadyExistsError):
        storage.create(f"{bucket.address}/{KEY}", b"mine", POLICY)
    assert bucket.objects[KEY] == b"theirs"


@pytest.mark.parametrize(("status", "reads", "why"), [(409, 200, "not there"), (412, 403, "cannot be read")])
def test_a_refusal_without_an_object_is_no_other_writer(bucket: OddBucket, status: int, reads: int, why: str) -> None:
    bucket.faults["PUT"] = deque([status] * 99)
    bucket.faults["HEAD"] = bucket.faults["GET"] = deque([] if reads == 200 else [reads] * 99)
    with pytest.raises(UnavailableError, match=rf"answers that it exists, but it (is )?{why}.*Run the same command"):
        storage.create(f"{bucket.address}/{KEY}", b"mine", IMPATIENT)
    assert KEY not in bucket.objects


def test_a_conflict_of_other_requests_is_retried(bucket: OddBucket) -> None:
    uri = f"{bucket.address}/{KEY}"
    bucket.faults |= {method: deque([409]) for method in ("PUT", "GET", "HEAD", "POST")}
    storage.overwrite(uri, b"0123456789", POLICY)
    assert storage.read_bytes(uri, policy=POLICY) == b"0123456789"
    assert storage.stat(uri, POLICY).size_bytes == 10
    assert storage.read_range(uri, 10, 5, POLICY) == b""
    storage.delete(uri, POLICY)
    assert not bucket.objects


def test_a_commit_whose_request_was_repeated_on_the_way_keeps_its_quarantine(bucket: OddBucket) -> None:
    dataset = _dataset(bucket)
    bucket.faults["PUT"] = deque(["pass", "twice"])
    _write(dataset)
    assert (dataset.embeddings().count_rows(), dataset.quarantine().count_rows()) == (9, 1)


@pytest.mark.parametrize("reads", [[], [404], [403, 503], [b"no footer"]])
def test_a_shard_counts_as_committed_elsewhere_once_its_file_was_read(
    bucket: OddBucket, reads: list[int | bytes]
) -> None:
    dataset = _dataset(bucket)
    _write(dataset)
    before = set(bucket.objects)
    bucket.faults["GET"] = deque(reads)
    with pytest.raises(CommittedError) as caught:
        _write(dataset)
    assert caught.value.run_id == provenance(10).run_id
    assert set(bucket.objects) == before


def test_a_shard_whose_file_is_damaged_is_not_committed_elsewhere(bucket: OddBucket) -> None:
    dataset = replace(_dataset(bucket), policy=IMPATIENT)
    _write(dataset)
    (name,) = (key for key in bucket.objects if key.startswith("out/embeddings"))
    bucket.objects[name] = b"PAR1" + bytes(100)
    with pytest.raises(RunError, match=r"unknown which run committed it\. .* is damaged .*: delete it and run"):
        _write(dataset)


def _dataset(bucket: OddBucket) -> Dataset:
    dataset = Dataset.open_or_create(f"{bucket.address}/out", an_identity())
    return replace(dataset, policy=POLICY)


def _write(dataset: Dataset) -> None:
    records = some_records(10)
    rows, failed = embedded_rows(records[1:], dataset.identity), quarantined_rows(records[:1])
    dataset.write_shard(SHARD, DAY, rows, failed, provenance(10))
