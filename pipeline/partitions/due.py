"""Which partitions are to be run, and why. Pure, but for the listing of the few sources whose input has to be compared.

Four words, each of which takes in the one before:

    failed    the last run of the partition failed
    missing   ... or it has no outcome: never run, stopped, run from another source, or empty and no longer so; or it
              is a day that was not over when it was run, and its source's objects have changed since
    stale     ... or it is done and its options or its source's objects have changed since
    all       every partition

To run a partition again means to list its source again and to embed what has no outcome in the dataset: records that
are new or changed. What is there stays as it is, and quarantined records stay in quarantine (`hanclip retry`).
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
#: Statuses that a listing can overturn.
_COMPARED: dict[Reprocess, set[str]] = {
    "failed": set(),
    "missing": {"empty"},
    "stale": {"empty", "done"},
    "all": set(),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A partition, how its last run ended (None: never), and why it is due; empty when it is not."""

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
    """One verdict per partition, in order. `digest_of` lists a source; it is called for those that must be compared."""

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
    """Whether a day was run before it was over everywhere: by the end of the day after it, UTC."""
    try:
        return datetime.fromisoformat(state.finished_at).date() <= date.fromisoformat(state.key) + timedelta(days=1)
    except ValueError:
        return False  # No day, or nobody knows when.


def due(verdicts: Sequence[Verdict], order: Order = "oldest", limit: int | None = None) -> list[Verdict]:
    """The verdicts of partitions to be run, in the order to run them; the first `limit` of them.

    Oldest first is the order of the keys, which for dates is that of time.
    """
    wanted = sorted((verdict for verdict in verdicts if verdict.why), key=lambda verdict: verdict.key)
    return (wanted if order == "oldest" else wanted[::-1])[:limit]
