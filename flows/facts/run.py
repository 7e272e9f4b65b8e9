"""The facts of a run that ended."""

from __future__ import annotations

from collections.abc import Sequence

from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked, Tone
from pipeline import units
from pipeline.jobs.progress import Bottleneck, State, Summary
from pipeline.stats import Skipped

TONES: dict[State, Tone] = {"complete": "good", "stopped": "warning", "failed": "error"}

_CREW_CHANGES = 3


def run_facts(summary: Summary) -> Facts:
    """Where every row went, and what set the pace. The first fact always adds up."""
    stats = summary.stats
    yield "rows in", summary.balance
    if summary.rows_vanished:
        yield "vanished", vanished(summary.rows_vanished)
    yield from left_out(summary.skipped)
    if stats.quarantined:
        yield "quarantine", figures.by_reason(stats.quarantined)
        if summary.examples:
            yield "for example", figures.examples(summary.examples)
    if stats.images_truncated:
        yield "truncated", f"{units.count(stats.images_truncated, 'JPEG')} that end too early, embedded as they are"
    if stats.texts:
        yield "long texts", figures.long_texts(stats)
    if stats.texts_unknown:
        yield "unknown texts", figures.unknown_texts(stats)
    if stats.records:
        yield "speed", _speed(summary)
    if summary.bottleneck:
        yield "bottleneck", _pace(summary.bottleneck)
    for change in summary.crew_changes[-_CREW_CHANGES:]:
        yield "crew", change
    if summary.actors_replaced:
        yield "actors", f"{summary.actors_replaced} replaced after they died"
    yield "model", Marked(Code(summary.model), f" on {'; '.join(summary.computing)}" if summary.computing else "")
    yield "output", Marked(Code(summary.output), f" (run_date={summary.run_date})" if summary.run_date else "")


def run_notes(summary: Summary) -> Facts:
    """What the listing of the source found, and why the run ended as it did."""
    for note in summary.notes:
        yield "source", Marked(note, tone="warning")
    if summary.message:
        yield "note", Marked(summary.message, tone=TONES.get(summary.state, ""))


def left_out(skipped: Sequence[Skipped]) -> Facts:
    """What the source holds besides records, a fact for each kind."""
    for one in skipped:
        yield (
            "left out",
            Marked(f"{one.what}, such as ", Code(one.example), *filter(None, [one.cure and f". {one.cure}"])),
        )


def vanished(rows: int) -> str:
    """`12 ids that the catalog no longer holds`."""
    return f"{units.count(rows, 'id')} that the catalog no longer holds"


def excess_quarantine(share: float, limit: str) -> str:
    """Why a run whose work is done has an exit code; `limit` is the name of the setting that was exceeded."""
    return (
        f"{figures.share(share)} of the dataset's records are in quarantine, more than {limit} allows: `hanclip status`"
        " lists the reasons; retry those that may pass with `hanclip retry`, fix the source, or raise the limit"
    )


def _speed(summary: Summary) -> str:
    stats = summary.stats
    return (
        f"{figures.rate(summary.records_per_s)} records/s after {figures.duration(summary.startup_s)} of start-up,"
        f" read {units.size(stats.bytes_read)}, wrote {units.size(stats.bytes_written)}"
    )


def _pace(found: Bottleneck) -> str:
    """Which stage set the pace, and what would make the run faster."""
    busy = ", ".join(f"{stage} {figures.share(part)}" for stage, part in found.busy.items())
    if found.stage is None:
        return f"{found.advice} (busy: {busy})"
    return f"{found.stage} (busy: {busy}). {found.advice}"
