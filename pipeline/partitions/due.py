"""Decides which partitions are due, and why. Does no I/O except to list the few sources that must be compared.

Four settings, each of which includes the previous one:

    failed    the last run of the partition failed
    missing   ... or it has no outcome: never run, stopped, run from another source, or empty then and not now; or it
              is a day that was run before it was over, and its source's objects have changed since
    stale     ... or it is done, and its options or its source's objects have changed since
    all       every partition

Running a partition again lists its source again and embeds the records without an outcome: new or changed ones.
Existing rows stay, and quarantined records stay in quarantine (`hanclip retry`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pipeline import storage
from pipeline.config import RunConfig
from pipeline.partitions.manifests import PartitionState
from pipeline.partitions.template import Partition, input_digest, same_options, same_places, spec_digest
from pipeline.vocabulary import Order, Reprocess

NEVER = "never run"
FAILED = "failed"
SPEC = "options changed"
PLACE = "another source"
INPUT = "source changed"
UNKNOWN = "source cannot be compared"
ASKED = "asked for"

_LISTINGS_AT_ONCE = 8
#: Statuses for which the source is listed and compared.
_COMPARED: dict[Reprocess, set[str]] = {
    "failed": set(),
    "missing": {"empty"},
    "stale": {"empty", "done"},
    "all": set(),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A partition, the state of its last run (None: never run), and why it is due; `why` is empty if it is not."""

    partition: Partition
    state: PartitionState | None
    why: str

    @property
    def key(self) -> str:
        """The partition's key."""
        return self.partition.key


def judge(
    partitions: Sequence[Partition],
    states: Mapping[str, PartitionState],
    reprocess: Reprocess,
    digest_of: Callable[[RunConfig], str] = input_digest,
) -> list[Verdict]:
    """One verdict per partition, in order. `digest_of` lists a source, and is called only where that is needed."""

    def verdict(partition: Partition) -> Verdict:
        state = states.get(partition.key)
        return Verdict(partition, state, _why(partition, state, reprocess, digest_of))

    return storage.in_threads(verdict, partitions, _LISTINGS_AT_ONCE)


def _why(
    partition: Partition, state: PartitionState | None, reprocess: Reprocess, digest_of: Callable[[RunConfig], str]
) -> str:
    if state is None:
        return "" if reprocess == "failed" else NEVER
    if state.status == "failed":
        return FAILED
    spec = spec_digest(partition.config)
    if reprocess in ("missing", "stale") and not same_places(state.spec, spec):
        return PLACE
    compared = state.status in _COMPARED[reprocess]
    if compared and not same_options(state.spec, spec):
        return SPEC
    if compared or (reprocess == "missing" and _early(state)):
        return _changed(partition, state, digest_of)
    return ASKED if reprocess == "all" else ""


def _changed(partition: Partition, state: PartitionState, digest_of: Callable[[RunConfig], str]) -> str:
    now = digest_of(partition.config)
    if not (now and state.input):
        return UNKNOWN
    return INPUT if now != state.input else ""


def _early(state: PartitionState) -> bool:
    """Whether a day was run before it was over in every time zone: by the end of the next day, UTC."""
    try:
        return datetime.fromisoformat(state.finished_at).date() <= date.fromisoformat(state.key) + timedelta(days=1)
    except ValueError:
        return False  # not a day, or no known end


def due(verdicts: Sequence[Verdict], order: Order = "oldest", limit: int | None = None) -> list[Verdict]:
    """The verdicts of due partitions, in the order to run them, at most `limit`. "oldest" sorts by key."""
    wanted = sorted((verdict for verdict in verdicts if verdict.why), key=lambda verdict: verdict.key)
    return (wanted if order == "oldest" else wanted[::-1])[:limit]
