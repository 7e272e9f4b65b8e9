"""Test reading over http: byte and time limits, retries, and the guard against non-public addresses."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import (
    AddressRefusedError,
    BadUriError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    TimedOutError,
    TooLargeError,
    UnavailableError,
)
from pipeline.storage import ReadPolicy
from pipeline.storage.backends.http import loop as http_loop
from pipeline.storage.backends.http import public_addresses as addresses
from pipeline.storage.backends.http.backend import HttpBackend
from pipeline.storage.backends.http.public_addresses import (
    PublicResolver,
    RefusedHostError,
    is_public,
    refuse_host,
    refuse_literal,
)
from tests.fixtures.processes import patience, until
from tests.fixtures.servers.web import Site

GUARDED = ReadPolicy.of(SourceConfig(read_timeout_s=1, retry_timeout_s=0, max_image_bytes=1000))
OPEN = replace(GUARDED, allow_private_hosts=True)
RETRYING = replace(OPEN, retry_timeout_s=8.0)


def read(url: str, policy: ReadPolicy) -> bytes | StorageError:
    return storage.read_many([url], policy)[0]


def test_a_private_address_is_refused_before_anything_is_sent(site: Site) -> None:
    result = read(site.url("/a.jpg?token=secret"), GUARDED)
    assert isinstance(result, AddressRefusedError)
    assert "--allow-private-hosts" in str(result)
    assert "secret" not in str(result)
    assert site.requests == []


def test_a_private_address_is_read_when_allowed(site: Site) -> None:
    assert read(site.url("/a.jpg?x=1"), OPEN) == b"image bytes"
    assert site.requests == ["/a.jpg?x=1"]


NUMERIC_HOSTS = [
    "127.1",
    "127.0.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.",
    "0x7f000001",
    "0X7F.1",
    "0x",
]
NUMERIC_HOSTS += ["127.0.0.1.", "１２７.0.0.1", "a.b.127", "1.2.3.4.5", "999.1.1.1", "0x5db8d822"]


@pytest.mark.parametrize("host", ["localhost", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25lo]", *NUMERIC_HOSTS])
def test_alternative_spellings_of_loopback_are_refused(site: Site, host: str) -> None:
    assert site.server
    result = read(f"http://{host}:{site.server.server_port}/a.jpg", GUARDED)
    assert isinstance(result, AddressRefusedError)
    assert site.requests == []


@pytest.mark.parametrize("host", NUMERIC_HOSTS)
def test_the_guard_refuses_numeric_hosts_that_some_clients_parse_as_addresses(host: str) -> None:
    with pytest.raises(RefusedHostError):
        refuse_literal(URL(f"http://{host}/a.jpg"))


@pytest.mark.parametrize(
    "host", ["example.com", "1.example", "7.cdn-0x7f", "93.184.216.34", "0xabc.org", "[2606:2800::1]"]
)
def test_names_and_public_addresses_pass_the_guard(host: str) -> None:
    refuse_literal(URL(f"http://{host}/a.jpg"))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("192.0.0.192", False),
        ("168.63.129.16", False),
        ("::ffff:168.63.129.16", False),
        ("fec0::1", False),
        ("no address", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


class _FixedResolver(AbstractResolver):
    """Resolves every name to given addresses, as a hostile name server may."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._hosts
        ]

    async def close(self) -> None:
        pass


def test_a_name_resolves_to_its_public_addresses_only() -> None:
    mixed = asyncio.run(PublicResolver(_FixedResolver("10.0.0.1", "93.184.216.34")).resolve("h", 80))
    assert [result["host"] for result in mixed] == ["93.184.216.34"]
    with pytest.raises(RefusedHostError):
        asyncio.run(PublicResolver(_FixedResolver("10.0.0.1", "127.0.0.1")).resolve("h", 80))


class _ChangingResolver(_FixedResolver):
    """Gives another of the addresses each time."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        first, *rest = await super().resolve(host, port, family)
        self._hosts = tuple(one["host"] for one in rest)
        return [first]


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    outside, changing = Site(host="127.0.0.2"), _ChangingResolver("127.0.0.2", "127.0.0.1")
    outside.start()
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2")
    monkeypatch.setattr(addresses, "ThreadedResolver", lambda: changing)
    url = outside.url("/a.jpg").replace("127.0.0.2", "changing.example")
    assert HttpBackend(guarded=True).get(url, GUARDED) == b"image bytes"
    with pytest.raises(AddressRefusedError):
        HttpBackend(guarded=True).get(url, GUARDED)
    outside.stop()


def test_a_redirect_to_a_private_address_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = Site(host="127.0.0.2")
    outside.start()
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2")
    assert read(outside.url(f"/to?{outside.url('/a.jpg')}"), GUARDED) == b"image bytes"
    assert isinstance(read(outside.url(f"/to?{site.url('/a.jpg')}"), GUARDED), AddressRefusedError)
    assert site.requests == []
    assert isinstance(read(outside.url("/to?file:///etc/passwd"), GUARDED), BadUriError)
    outside.stop()


def test_hosts_that_are_not_allowed_are_refused_also_after_a_redirect(site: Site) -> None:
    outside = Site(host="127.0.0.2")
    outside.start()
    only = replace(OPEN, allowed_hosts=("127.0.0.2",))
    assert read(outside.url("/a.jpg"), only) == b"image bytes"
    assert isinstance(read(site.url("/a.jpg"), only), AddressRefusedError)
    assert isinstance(read(outside.url(f"/to?{site.url('/a.jpg')}"), only), AddressRefusedError)
    assert site.requests == []
    outside.stop()


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("img.example", True),
        ("IMG.example.", True),
        ("a.b.cdn.example", True),
        ("cdn.example", False),
        ("evilcdn.example", False),
        ("example", False),
    ],
)
def test_a_star_stands_for_subdomains(host: str, allowed: bool) -> None:
    if allowed:
        refuse_host(host, ("img.example", "*.cdn.example"), "http://h/")
    else:
        with pytest.raises(AddressRefusedError):
            refuse_host(host, ("img.example", "*.cdn.example"), "http://h/")


def test_at_most_five_redirects_are_followed(site: Site) -> None:
    target = "/a.jpg"
    for _ in range(5):
        target = f"/to?{target}"
    assert read(site.url(target), OPEN) == b"image bytes"
    assert isinstance(read(site.url(f"/to?{target}"), OPEN), StorageError)


def test_reading_stops_at_the_byte_limit(site: Site) -> None:
    started = time.monotonic()
    assert isinstance(read(site.url("/endless"), OPEN), TooLargeError)
    assert isinstance(read(site.url("/a"), replace(OPEN, max_bytes=5)), TooLargeError)
    assert time.monotonic() - started < patience(2)


def test_a_slow_body_times_out(site: Site) -> None:
    started = time.monotonic()
    assert isinstance(read(site.url("/slow"), OPEN), TimedOutError)
    assert 0.9 < time.monotonic() - started < patience(2.5)


def test_busy_responses_are_retried_and_refusals_are_not(site: Site) -> None:
    site.busy = 2
    assert read(site.url("/busy"), RETRYING) == b"image bytes"
    assert site.requests == ["/busy"] * 3
    assert isinstance(read(site.url("/status/404"), RETRYING), NotFoundError)
    assert isinstance(read(site.url("/status/403"), RETRYING), ForbiddenError)
    assert len(site.requests) == 5


def test_threads_that_start_together_share_one_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def slowly() -> asyncio.AbstractEventLoop:
        time.sleep(0.05)
        made.append(asyncio.SelectorEventLoop())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", slowly)
    monkeypatch.setattr(http_loop, "_started_loop", cache(http_loop._started_loop.__wrapped__))
    with ThreadPoolExecutor(8) as pool:
        loops = list(pool.map(lambda _: http_loop.the_loop(), range(8)))
    for loop in made:
        loop.call_soon_threadsafe(loop.stop)
        until(lambda loop=loop: not loop.is_running(), "the end of the loop")
        loop.close()
    assert loops == made * 8


def test_a_failing_image_leaves_the_others_their_retries(site: Site) -> None:
    site.busy = 2
    urls = [site.url("/status/503"), site.url("/status/500"), site.url("/busy"), site.url("/a.jpg")]
    results = storage.read_many(urls, replace(RETRYING, retry_timeout_s=1.5, concurrency=1))
    assert [isinstance(result, UnavailableError) for result in results] == [True, True, False, False]


def test_a_host_that_always_fails_uses_up_its_retry_time_only_once(site: Site) -> None:
    urls = [site.url(f"/status/{status}") for status in range(500, 540)]
    started = time.monotonic()
    results = storage.read_many(urls, replace(RETRYING, retry_timeout_s=1.0, concurrency=4))
    assert all(isinstance(result, UnavailableError) for result in results)
    assert time.monotonic() - started < patience(2.5)


def test_unreachable_hosts(site: Site) -> None:
    assert isinstance(read("http://no-such-host.invalid/a.jpg", RETRYING), NotFoundError | UnavailableError)
    assert isinstance(read("http:///a.jpg", OPEN), BadUriError)
    assert isinstance(read("http://a b/a.jpg", OPEN), BadUriError | NotFoundError)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}/a.jpg"
        assert isinstance(read(refusing, OPEN), UnavailableError)


def test_many_urls_of_one_host_keep_their_order(site: Site) -> None:
    urls = [site.url(f"/{number}.jpg") if number % 3 else site.url("/status/404") for number in range(60)]
    results = storage.read_many(urls, OPEN)
    assert [isinstance(result, bytes) for result in results] == [bool(number % 3) for number in range(60)]


def test_queueing_for_a_host_does_not_count_against_the_timeout(site: Site) -> None:
    results = storage.read_many([site.url("/half")] * 128, replace(OPEN, concurrency=128, timeout_s=3))
    assert results == [b"image bytes"] * 128


def test_an_address_given_by_the_user_is_not_restricted(site: Site) -> None:
    info = storage.stat(site.url("/table.parquet"))
    assert (info.size_bytes, info.fingerprint) == (11, "v1")
    assert [found.uri for found in storage.list_objects(site.url("/t.csv"))] == [site.url("/t.csv")]
    assert storage.read_bytes(site.url("/t.csv")) == b"image bytes"
    site.files["/range"] = bytes(range(100))
    assert storage.read_range(site.url("/range"), 10, 5) == bytes(range(10, 15))
    with pytest.raises(StorageError, match="http is read-only"):
        storage.overwrite(site.url("/t.csv"), b"")
