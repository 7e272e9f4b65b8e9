"""Rates of keys: a bucket of requests for each, which fills at its rate and holds those of a second, at least one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.serving.errors import ApiError, ErrorCode


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class KeyRates:
    """Counts the requests of each key. There are as many buckets as keys, so memory is bounded.

    Args:
        requests_per_s: of a key without a rate of its own; None: unlimited.
        clock: seconds.
    """

    def __init__(self, requests_per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._default, self._clock = requests_per_s, clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str, requests_per_s: float | None) -> Mapping[str, str]:
        """Count a request; returns the headers that say what is left.

        Args:
            name: of the key.
            requests_per_s: its own rate, if it has one.

        Raises:
            ApiError: the key has asked too often.
        """
        rate = requests_per_s or self._default
        if rate is None:
            return {}
        most, now_s = max(1.0, rate), self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(most, now_s))
        bucket.left = min(most, bucket.left + (now_s - bucket.at_s) * rate)
        bucket.at_s = now_s
        if bucket.left < 1:
            wait_s = (1 - bucket.left) / rate
            raise ApiError(
                429,
                ErrorCode.RATE_LIMITED,
                f"The key {name} may send {rate:g} requests a second. Wait {wait_s:.2g} s and try again.",
                retry_after_s=math.ceil(wait_s),
                headers=_headers(rate, bucket.left),
            )
        bucket.left -= 1
        return _headers(rate, bucket.left)


def _headers(rate: float, left: float) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(max(1, int(rate))),
        "x-ratelimit-remaining-requests": str(int(left)),
        "x-ratelimit-reset-requests": f"{(max(1.0, rate) - left) / rate:.3f}s",
    }
