"""Limits of reading (timeouts, concurrency, sizes), and the one retry loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from pipeline.config import SourceConfig
from pipeline.errors import UnavailableError

T = TypeVar("T")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Limits of reading.

    Attributes:
        timeout_s: deadline of one attempt, in seconds.
        retry_timeout_s: no attempt starts later than this after the first, in seconds; 0 never retries.
        concurrency: reads in flight.
        max_bytes: larger objects are not read; None reads objects of any size.
        allow_private_hosts: http(s) URLs may lead to private, loopback and link-local addresses.
    """

    timeout_s: float
    retry_timeout_s: float
    concurrency: int
    max_bytes: int | None
    allow_private_hosts: bool

    @classmethod
    def of(cls, config: SourceConfig) -> ReadPolicy:
        """The policy for the user's options."""
        return cls(
            timeout_s=config.read_timeout_s,
            retry_timeout_s=config.retry_timeout_s,
            concurrency=config.read_concurrency,
            max_bytes=config.max_image_bytes,
            allow_private_hosts=config.allow_private_hosts,
        )

    @classmethod
    def of_commits(cls, config: SourceConfig) -> ReadPolicy:
        """The policy of commits: retried as long as reads, but without their deadline, too short for an upload."""
        return replace(DEFAULT_POLICY, retry_timeout_s=config.retry_timeout_s)


#: For everything but source content and commits: listings, footers, plans.
DEFAULT_POLICY = ReadPolicy.of(SourceConfig())


def with_retries(attempt: Callable[[], T], policy: ReadPolicy) -> T:
    """Call `attempt`, and again after each `UnavailableError`, with jitter, until the policy's time is up."""
    return _retrying(policy.retry_timeout_s)(attempt)


@lru_cache(maxsize=16)
def _retrying(retry_timeout_s: float) -> Retrying:
    """Shared by all calls, since making one costs more than a local read; its state is thread-local."""
    return Retrying(
        retry=retry_if_exception_type(UnavailableError),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
        stop=stop_before_delay(retry_timeout_s),
        reraise=True,
    )
