"""Ids of jobs: derived, never random, so that a caller finds its job again, and valid as Kubernetes names.

In: the flow, the id of its run, a name for the work. Out: `<flow>-<last 12 digits of the run's id>-<slug>`, to which
each attempt adds `-a<n>`. The last digits, because a UUIDv7 starts with the time, so ids made at the same time start
alike. KubeRay allows at most 47 lower-case letters, digits and dashes.
"""

from __future__ import annotations

import hashlib
import re

from pipeline.errors import ConfigError

MAX_LENGTH = 47
_ATTEMPT_LENGTH = len("-a99")
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


def job_id_base(flow: str, flow_run_id: str, slug: str) -> str:
    """Job id without the attempt; a long slug is shortened and gets a digest that keeps it distinct.

    >>> job_id_base("embed", "0690a4de-77c1-7bd6-8000-5c1c4b0ff0c1", "2026-11-01")
    'embed-5c1c4b0ff0c1-2026-11-01'
    """
    head = f"{slugged(flow)}-{flow_run_id.replace('-', '').lower()[-12:]}"
    tail = slugged(slug)
    room = MAX_LENGTH - _ATTEMPT_LENGTH - len(head) - 1
    if tail != slug.lower() or len(tail) > room:
        digest = hashlib.sha256(slug.encode()).hexdigest()[:6]
        tail = f"{tail[: max(0, room - 7)].rstrip('-')}-{digest}".lstrip("-")
    base = f"{head}-{tail}" if slug else head
    if not is_job_id(attempt_id(base, 99)):
        raise ConfigError(
            f"{base!r} is not a valid job id: it must start with a letter and be short. Use a shorter flow name."
        )
    return base


def is_job_id(text: str) -> bool:
    """Whether Kubernetes and KubeRay accept it as the name of a RayJob."""
    return len(text) <= MAX_LENGTH and _NAME.fullmatch(text) is not None


def attempt_id(base: str, attempt: int) -> str:
    """Job id of an attempt; they are numbered from 1."""
    return f"{base}-a{attempt}"


def attempt_of(job_id: str) -> int:
    """The attempt in a job id; 1 for an id of another form."""
    number = job_id.rpartition("-a")[2]
    return int(number) if number.isdecimal() else 1


def slugged(text: str) -> str:
    """`text` in lower-case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
