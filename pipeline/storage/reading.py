"""Reads objects: one, a slice of one, many at once, many slices of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import NamedTuple, TypeVar

from pipeline.errors import HostDownError, StorageError, TimedOutError, TooLargeError, UnavailableError
from pipeline.storage.backends.contract import Backend
from pipeline.storage.backends.open import backend_for
from pipeline.storage.client_errors import translated
from pipeline.storage.health import HostHealth, StoreHealth
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.uris import HTTP_SCHEMES, normalise, printable, scheme, web_host

T = TypeVar("T")
J = TypeVar("J")

#: Spans of one object with a smaller gap share a request: the request costs more than reading the gap.
_GAP_BYTES = 128 * 2**10
_MERGED_BYTES = 32 * 2**20
#: Tries at one of many hosts: a timeout was waited for, and HTTP 500 is mostly about the one object.
_TRIES_WITH_TIMEOUT = 2
_TRIES_WITH_FAULT = 4


def read_bytes(uri: str, max_bytes: int | None = None, policy: ReadPolicy = DEFAULT_POLICY) -> bytes:
    """The whole object.

    Raises:
        TooLargeError: it has more than `max_bytes`.
        StorageError: it is missing, refused or unreachable.
    """
    uri = normalise(uri)
    return _get(backend_for(uri), uri, replace(policy, max_bytes=max_bytes))


def read_range(uri: str, start: int, length: int, policy: ReadPolicy = DEFAULT_POLICY) -> bytes:
    """`length` bytes from byte `start`, fewer where the object ends."""
    uri = normalise(uri)
    backend = backend_for(uri)

    def attempt() -> bytes:
        with translated(uri):
            return backend.get_range(uri, start, length, policy)

    return with_retries(attempt, policy) if length > 0 else b""


def read_many(uris: Sequence[str], policy: ReadPolicy) -> list[bytes | StorageError]:
    """Whole objects, `policy.concurrency` at once, in the order of `uris`; a failed read returns its error.

    http(s) URLs are treated as untrusted: only public addresses are read, unless the policy allows private ones.
    """
    health = StoreHealth()

    def read(uri: str) -> bytes | StorageError:
        patience = replace(policy, retry_timeout_s=0) if health.is_down(uri) else policy
        result: bytes | StorageError
        try:
            result = _get(_guarded_backend(uri, policy), uri, patience)
        except StorageError as error:
            result = error
        answered = not isinstance(result, UnavailableError)
        health.record(uri, answered)
        if policy.hosts and (host := web_host(uri)):
            _record(policy.hosts, host, result)
        return result

    return in_threads(read, [normalise(uri) for uri in uris], policy.concurrency)


def read_spans(uri: str, spans: Sequence[tuple[int, int]], policy: ReadPolicy) -> list[bytes | StorageError]:
    """Slices `(start, length)` of one object, in the order of `spans`; close ones share a request.

    A span that ends beyond the object comes back short. A span above `policy.max_bytes` is a `TooLargeError`, unread.
    """
    uri = normalise(uri)
    limit = policy.max_bytes
    results: list[bytes | StorageError] = [
        TooLargeError(
            f"{length:,} bytes at byte {start:,} of {printable(uri)} exceed the limit. Raise --max-image-bytes.", uri
        )
        if limit is not None and length > limit
        else b""
        for start, length in spans
    ]
    wanted = [_Span(start, length, index) for index, (start, length) in enumerate(spans) if results[index] == b""]
    groups = _merge(wanted)

    def read(group: list[_Span]) -> bytes | StorageError:
        start = group[0].start
        try:
            return read_range(uri, start, max(span.start + span.length for span in group) - start, policy)
        except StorageError as error:
            return error

    for group, got in zip(groups, in_threads(read, groups, policy.concurrency), strict=True):
        for span in group:
            offset = span.start - group[0].start
            results[span.place] = got[offset : offset + span.length] if isinstance(got, bytes) else got
    return results


class _Span(NamedTuple):
    start: int
    length: int
    place: int


def _merge(spans: list[_Span]) -> list[list[_Span]]:
    """Groups of spans, each read with one request."""
    groups: list[list[_Span]] = []
    end = 0
    for span in sorted(spans):
        near = bool(groups) and span.start - end <= _GAP_BYTES
        if near and span.start + span.length - groups[-1][0].start <= _MERGED_BYTES:
            groups[-1].append(span)
        else:
            groups.append([span])
            end = 0
        end = max(end, span.start + span.length)
    return groups


def in_threads(work: Callable[[J], T], jobs: Sequence[J], concurrency: int) -> list[T]:
    """`[work(job) for job in jobs]`, at most `concurrency` at once."""
    if len(jobs) < 2 or concurrency < 2:
        return [work(job) for job in jobs]
    results: dict[int, T] = {}
    left = iter(range(len(jobs)))

    def drain() -> None:
        for index in left:
            results[index] = work(jobs[index])

    pool = _pool(concurrency)
    for done in [pool.submit(drain) for _ in range(min(concurrency, len(jobs)))]:
        done.result()
    return [results[index] for index in range(len(jobs))]


@cache
def _pool(concurrency: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(concurrency, thread_name_prefix="hanclip-read")


def _get(backend: Backend, uri: str, policy: ReadPolicy) -> bytes:
    host = web_host(uri)
    hosts = policy.hosts if host else None  # a bucket is a store, and waited for
    failures: list[StorageError] = []

    def hopeless() -> bool:
        return hosts is not None and bool(failures) and _is_hopeless(failures, host, hosts)

    def attempt() -> bytes:
        if hopeless():
            raise failures[-1]  # its own, rather than that its host was given up meanwhile
        try:
            with translated(uri):
                return backend.get(uri, policy)
        except StorageError as error:
            failures.append(error)
            raise

    return with_retries(attempt, policy, hopeless)


def _record(hosts: HostHealth, host: str, result: bytes | StorageError) -> None:
    if not isinstance(result, UnavailableError):
        hosts.served(host)
    elif not isinstance(result, HostDownError) or hosts.is_silent(host):  # else a host that it redirects to is down
        hosts.spent(host)


def _is_hopeless(failures: list[StorageError], host: str, hosts: HostHealth) -> bool:
    """Whether more tries of an object of one of many hosts are a waste of time."""
    last, tries = failures[-1], len(failures)
    if isinstance(last, TimedOutError) and tries >= _TRIES_WITH_TIMEOUT:
        return True
    if isinstance(last, UnavailableError) and last.status == 500 and tries >= _TRIES_WITH_FAULT:
        return True
    allowed = hosts.tries(host)
    return hosts.is_given_up(host) or (allowed is not None and tries >= allowed)


def _guarded_backend(uri: str, policy: ReadPolicy) -> Backend:
    if scheme(uri) not in HTTP_SCHEMES or policy.allow_private_hosts:
        return backend_for(uri)
    from pipeline.storage.backends.http.backend import GUARDED  # loads aiohttp for http(s) alone

    return GUARDED
