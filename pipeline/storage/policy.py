"""Limits of reading (timeouts, concurrency, sizes), and the one retry loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from pipeline.config import SourceConfig
from pipeline.credentials.headers import HttpHeaders
from pipeline.errors import UnavailableError, UnusableHostError
from pipeline.storage.health import HostHealth

T = TypeVar("T")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 8.0
_TRIES_AT_UNUSABLE_HOSTS = 3
_JITTER = wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Limits of reading.

    Attributes:
        timeout_s: deadline of one attempt, in seconds.
        retry_timeout_s: no attempt starts later than this after the first, in seconds; 0 never retries.
        concurrency: reads in flight.
        max_bytes: larger objects are not read; None reads objects of any size.
        allow_private_hosts: http(s) URLs may lead to private, loopback and link-local addresses.
        headers: the user's headers for http(s) requests.
        respect_robots_tag: whole objects whose `X-Robots-Tag` forbids their use are not read.
        allowed_hosts: http(s) requests go to these hosts alone, such as `img.example` or `*.example`; empty: to any.
        hosts: what is known of the hosts of a source with many; None waits for each like for a store.
    """

    timeout_s: float
    retry_timeout_s: float
    concurrency: int
    max_bytes: int | None
    allow_private_hosts: bool
    headers: HttpHeaders = field(default_factory=HttpHeaders)
    respect_robots_tag: bool = False
    allowed_hosts: tuple[str, ...] = ()
    hosts: HostHealth | None = None

    @classmethod
    def of(cls, config: SourceConfig) -> ReadPolicy:
        """The policy for the user's options. Raises ConfigError if a variable that a header needs is not set."""
        return cls(
            timeout_s=config.read_timeout_s,
            retry_timeout_s=config.retry_timeout_s,
            concurrency=config.read_concurrency,
            max_bytes=config.max_image_bytes,
            allow_private_hosts=config.allow_private_hosts,
            headers=HttpHeaders.of(config.http_headers),
            respect_robots_tag=config.respect_robots_tag,
        )

    @classmethod
    def of_listings(cls, config: SourceConfig) -> ReadPolicy:
        """The policy of listings: the default's limits, and the user's headers."""
        return replace(DEFAULT_POLICY, headers=HttpHeaders.of(config.http_headers))

    @classmethod
    def of_commits(cls, config: SourceConfig) -> ReadPolicy:
        """The policy of commits: retried as long as reads, but without their deadline, too short for an upload."""
        return replace(DEFAULT_POLICY, retry_timeout_s=config.retry_timeout_s)


#: For everything but source content and commits: listings, footers, plans.
DEFAULT_POLICY = ReadPolicy.of(SourceConfig())


def with_retries(attempt: Callable[[], T], policy: ReadPolicy, hopeless: Callable[[], bool] = lambda: False) -> T:
    """Call `attempt`, and again after each `UnavailableError`, with jitter, until the policy's time is up.

    A longer pause that the server asks for is kept. There are no more attempts once retrying is `hopeless`.
    """
    retrying, stop = _retrying(policy.retry_timeout_s)
    if policy.hosts is not None:
        retrying = retrying.copy(stop=lambda state: stop(state) or hopeless())
    return retrying(attempt)


@lru_cache(maxsize=16)
def _retrying(retry_timeout_s: float) -> tuple[Retrying, Callable[[RetryCallState], bool]]:
    """Shared by all calls, since making one costs more than a local read; its state is thread-local."""
    over = stop_before_delay(retry_timeout_s)

    def stop(state: RetryCallState) -> bool:
        return over(state) or _is_unusable(state)

    return Retrying(retry=retry_if_exception_type(UnavailableError), wait=_pause_s, stop=stop, reraise=True), stop


def _pause_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.retry_after_s if isinstance(error, UnavailableError) else 0.0
    return max(asked_s, _JITTER(state))


def _is_unusable(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, UnusableHostError) and state.attempt_number >= _TRIES_AT_UNUSABLE_HOSTS
