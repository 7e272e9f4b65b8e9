"""What a user may not expect of a result, in sentences.

In: the settings, the facts of the previous table, and the decisions. Out: notes, shown at the end and in `--json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.curation.dedup.choice.decisions import DedupDecisions
from pipeline.curation.dedup.links.conditions import Conditions
from pipeline.curation.dedup.measured import OPTIONS, unmeasured
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset.dataset import Dataset
from pipeline.scratch.user_sql import sorts_ascending

_RULE = ("keep", "keep_sql", "keep_margin")


def notes_of(
    dataset: Dataset,
    settings: DedupSettings,
    before: Mapping[str, Any] | None,
    decisions: DedupDecisions,
    conditions: Conditions,
) -> tuple[str, ...]:
    """The notes; `before` has the facts of the previous table."""
    found = [*_notes(settings, before, decisions), *_unmeasured(dataset, settings, decisions.rungs)]
    if settings.not_duplicates and not len(conditions.never):
        found.append(f"--not-duplicates {settings.not_duplicates} has no pair of which both ids are in the dataset")
    return tuple(found)


def _notes(settings: DedupSettings, before: Mapping[str, Any] | None, decisions: DedupDecisions) -> Iterator[str]:
    if settings.keep_sql and sorts_ascending(settings.keep_sql):
        yield (
            f"--keep-sql {settings.keep_sql!r} sorts ascending: the row with the smallest value stays; write DESC for "
            "the largest, or ASC to confirm"
        )
    if before is None or settings.reconsider:
        return
    if decisions.both:
        are = "is a duplicate" if decisions.both == 1 else "are duplicates"
        yield (
            f"{decisions.both:,} of the rows that stay {are} by these settings: what an earlier run kept stays, and "
            "--reconsider decides anew"
        )
    default = DedupSettings().model_dump(mode="json")
    then, now = {**default, **before.get("settings", {})}, settings.model_dump(mode="json")
    if any(then[name] != now[name] for name in _RULE):
        yield "the keep rule has changed; rows that an earlier run kept stay, and --reconsider applies the rule to all"
    if "rule" not in before:
        yield (
            "the earlier table is of a version that kept one row of each group; what it kept stays, and rows without a "
            "near row that stays are kept again"
        )


def _unmeasured(dataset: Dataset, settings: DedupSettings, rungs: tuple[str, ...]) -> Iterator[str]:
    for rung, threshold in unmeasured(settings, rungs, dataset.identity):
        yield (
            f"the threshold of rung {rung}, {threshold:g}, is unmeasured for this model, {dataset.identity.model}: "
            f"`hanclip dedup {dataset.uri} --suggest` shows the pairs around it, {OPTIONS[rung]} sets another"
        )
