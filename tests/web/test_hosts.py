"""Test what dead, silent and busy hosts cost when a source has many hosts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import HostDownError, StorageError, TimedOutError, UnavailableError, UnusableHostError
from pipeline.storage import HostHealth, ReadPolicy
from tests.fixtures.processes import patience
from tests.fixtures.servers.web import Site


def policy(**options: float) -> ReadPolicy:
    """Patient, for many hosts."""
    config = SourceConfig(read_timeout_s=1, retry_timeout_s=60, allow_private_hosts=True)
    return replace(ReadPolicy.of(config), hosts=HostHealth(), **options)


@pytest.fixture
def refusing() -> Iterator[list[str]]:
    """URLs of 40 hosts that refuse connections."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(40)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield [f"http://127.0.0.1:{one.getsockname()[1]}/a.jpg" for one in sockets]


def kinds(results: list[bytes | StorageError]) -> list[type]:
    return [type(result) for result in results]


def test_refusing_hosts_cost_seconds_and_the_others_nothing(site: Site, refusing: list[str]) -> None:
    started = time.monotonic()
    results = storage.read_many([*refusing, site.url("/a.jpg"), "http://no-such-host.invalid/b"], policy())
    assert kinds(results[:-1]) == [HostDownError] * 40 + [bytes]
    assert isinstance(results[-1], HostDownError)
    assert "connection refused" in str(results[0])
    assert time.monotonic() - started < patience(5)


def test_a_silent_host_is_waited_for_once_and_not_for_each_of_its_images(site: Site) -> None:
    started = time.monotonic()
    results = storage.read_many([site.url("/silent")] * 64, policy())
    assert set(kinds(results)) == {TimedOutError, UnusableHostError}
    assert "no answer to earlier requests" in " ".join(map(str, results))
    assert time.monotonic() - started < patience(4)
    assert len(site.requests) <= 32


def test_what_is_known_of_a_host_lasts_from_one_batch_to_the_next(refusing: list[str]) -> None:
    shared = policy()
    assert kinds(storage.read_many(refusing[:1], shared)) == [HostDownError]
    started = time.monotonic()
    assert kinds(storage.read_many(refusing[:1] * 500, shared)) == [UnusableHostError] * 500
    assert time.monotonic() - started < patience(1)


def test_a_redirect_to_a_dead_host_does_not_count_against_the_host_that_sent_it(
    site: Site, refusing: list[str]
) -> None:
    urls = [*(site.url(f"/to?{dead}") for dead in refusing[:6]), site.url("/a.jpg")]
    results = storage.read_many(urls, policy(concurrency=1, retry_timeout_s=1.0))
    assert results[-1] == b"image bytes"
    assert all(isinstance(result, HostDownError) for result in results[:-1])


def test_an_image_that_is_served_too_slowly_does_not_silence_its_host(site: Site) -> None:
    urls = [site.url("/a.jpg"), *[site.url("/slow")] * 4, site.url("/a.jpg")]
    results = storage.read_many(urls, policy(concurrency=1, retry_timeout_s=0, timeout_s=0.3))
    assert kinds(results) == [bytes, *[TimedOutError] * 4, bytes]


def test_a_busy_host_is_asked_again_when_it_says_so(site: Site) -> None:
    site.busy, site.retry_after = 1, "1"
    started = time.monotonic()
    assert storage.read_many([site.url("/busy")], policy()) == [b"image bytes"]
    assert 1.0 <= time.monotonic() - started < patience(3)


@pytest.mark.parametrize("later", ["3600", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_host_that_is_busy_for_longer_than_the_retries_is_not_waited_for(site: Site, later: str) -> None:
    site.busy, site.retry_after = 1, later
    started = time.monotonic()
    [result] = storage.read_many([site.url("/busy")], policy())
    assert isinstance(result, UnavailableError)
    assert "HTTP 503, asks to wait" in str(result)
    assert time.monotonic() - started < patience(1)
