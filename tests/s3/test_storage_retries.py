"""Storage retries: a real S3 server behind a proxy that throttles, stalls, drops and loses responses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import AlreadyExistsError, TimedOutError, UnavailableError
from pipeline.storage import ReadPolicy
from tests.fixtures.processes import patience
from tests.fixtures.servers.s3 import FaultyProxy, S3Server

POLICY = ReadPolicy.of(SourceConfig(read_timeout_s=1, retry_timeout_s=8, read_concurrency=8, max_image_bytes=1_000_000))
ONCE = ReadPolicy.of(SourceConfig(read_timeout_s=1, retry_timeout_s=0))


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The server seen through a proxy that fails on request."""
    proxy = FaultyProxy(s3.endpoint)
    proxy.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.stop()


def test_reads_outlast_throttling_drops_and_truncated_responses(proxy: FaultyProxy) -> None:
    uri = f"{_bucket_of(proxy)}/a"
    storage.create(uri, b"x" * 10_000, POLICY)
    proxy.faults.extend([503, "drop", 429, "cut", 500])
    proxy.requests.clear()
    assert storage.read_many([uri], POLICY) == [b"x" * 10_000]
    assert len(proxy.requests) == 6


def test_a_stalled_read_times_out_and_is_retried(proxy: FaultyProxy) -> None:
    uri = f"{_bucket_of(proxy)}/a"
    storage.create(uri, b"x", POLICY)
    proxy.faults.append("stall")
    started = time.monotonic()
    assert storage.read_many([uri], POLICY) == [b"x"]
    assert 0.9 < time.monotonic() - started < patience(2.9)
    proxy.faults.append("stall")
    assert isinstance(storage.read_many([uri], ONCE)[0], TimedOutError)


def test_missing_and_forbidden_objects_are_not_retried(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    base = _bucket_of(proxy)
    proxy.requests.clear()
    storage.read_many([f"{base}/none"], POLICY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    storage.read_many([f"{base}/none"], POLICY)
    assert len(proxy.requests) == 2


def test_a_short_outage_is_waited_out(proxy: FaultyProxy) -> None:
    uri = f"{_bucket_of(proxy)}/a"
    storage.create(uri, b"x", POLICY)
    port = proxy.stop()
    threading.Timer(1.5, proxy.start, [port]).start()
    assert storage.read_many([uri] * 20, POLICY) == [b"x"] * 20


def test_a_long_outage_is_not_waited_out_for_every_object(proxy: FaultyProxy) -> None:
    base = _bucket_of(proxy)
    proxy.stop()
    policy = ReadPolicy(timeout_s=1, retry_timeout_s=1, concurrency=2, max_bytes=None, allow_private_hosts=False)
    started = time.monotonic()
    results = storage.read_many([f"{base}/{number}" for number in range(40)], policy)
    proxy.start()
    assert all(isinstance(result, UnavailableError) for result in results)
    assert "connection refused" in str(results[0])
    assert time.monotonic() - started < patience(4)


def test_listings_outlast_throttling(proxy: FaultyProxy) -> None:
    base = _bucket_of(proxy)
    storage.create(f"{base}/a", b"x", POLICY)
    proxy.faults.extend([503, 503])
    assert [info.uri for info in storage.list_objects(base)] == [f"{base}/a"]


def test_a_create_with_a_lost_response_is_not_a_lost_race(proxy: FaultyProxy) -> None:
    base = _bucket_of(proxy)
    assert storage.supports_create(base)
    proxy.faults.append("lose")
    storage.create(f"{base}/mine", b"mine", POLICY)
    assert storage.read_bytes(f"{base}/mine") == b"mine"


def test_a_retried_create_still_loses_to_another_writer(proxy: FaultyProxy) -> None:
    base = _bucket_of(proxy)
    storage.create(f"{base}/theirs", b"theirs", POLICY)
    proxy.faults.append(503)
    with pytest.raises(AlreadyExistsError):
        storage.create(f"{base}/theirs", b"mine!!", POLICY)
    assert storage.read_bytes(f"{base}/theirs") == b"theirs"


def test_a_large_object_is_one_conditional_put(proxy: FaultyProxy) -> None:
    base = _bucket_of(proxy)
    assert storage.supports_create(base)
    proxy.requests.clear()
    storage.create(f"{base}/large", b"x" * 20_000_000)
    with pytest.raises(AlreadyExistsError):
        storage.create(f"{base}/large", b"y" * 20_000_000)
    assert [request.split("?")[0].split()[0] for request in proxy.requests] == ["PUT", "PUT", "HEAD"]


def _bucket_of(proxy: FaultyProxy) -> str:
    return S3Server(folder=None, port=int(proxy.upstream.rpartition(":")[2])).bucket()  # type: ignore[arg-type]
