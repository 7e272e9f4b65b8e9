"""How patiently and how greedily to read, and the one loop that tries again."""

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
        timeout_s: deadline of one attempt.
        retry_timeout_s: no new attempt starts later than this after the first; 0 tries once.
        concurrency: reads in flight.
        max_bytes: larger objects are not read; None reads any.
        allow_private_hosts: http(s) URLs may lead to private, loopback and link-local addresses.
    """

    timeout_s: float
    retry_timeout_s: float
    concurrency: int
    max_bytes: int | None
    allow_private_hosts: bool

    @classmethod
    def of(cls, config: SourceConfig) -> ReadPolicy:
        """The policy that the user's options ask for."""
        return cls(
            timeout_s=config.read_timeout_s,
            retry_timeout_s=config.retry_timeout_s,
            concurrency=config.read_concurrency,
            max_bytes=config.max_image_bytes,
            allow_private_hosts=config.allow_private_hosts,
        )

    @classmethod
    def of_commits(cls, config: SourceConfig) -> ReadPolicy:
        """For what is written: retried as long as reads are. A read's deadline would be too short for an upload."""
        return replace(DEFAULT_POLICY, retry_timeout_s=config.retry_timeout_s)


#: For everything that is neither a source's content nor a commit: listings, footers, plans.
DEFAULT_POLICY = ReadPolicy.of(SourceConfig())


def with_retries(attempt: Callable[[], T], policy: ReadPolicy) -> T:
    """Call `attempt`; after an `UnavailableError` again, with jitter, until the policy's time is up."""
    return _retrying(policy.retry_timeout_s)(attempt)


@lru_cache(maxsize=16)
def _retrying(retry_timeout_s: float) -> Retrying:
    """One object for all calls, since making it costs more than a local read; it keeps its state by thread."""
    return Retrying(
        retry=retry_if_exception_type(UnavailableError),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
        stop=stop_before_delay(retry_timeout_s),
        reraise=True,
    )
