"""The facts of a dry run: what there is to do, about how long it would take, and what it would cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.facts.run import left_out, vanished
from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked
from pipeline import units

if TYPE_CHECKING:  # keeps --help light: planning reads models and sources
    from actors.dry_run import DryRun
    from pipeline.cost.prices import Price
    from pipeline.cost.work import Work


def dry_run_ended(base: FlowRunSummary, dry: DryRun) -> FlowRunSummary:
    """`base` with what a dry run found."""
    return replace(
        base,
        outcome=FlowOutcome.DRY_RUN,
        data=f"unchanged: {dry.rows:,} of {dry.rows_in:,} records are to do",
        details=f"{dry.rows:,} of {dry.rows_in:,} records to do",
        next_step="Run the deployment without `dry_run`.",
    )


def dry_run_facts(dry: DryRun) -> Facts:
    """Rows, shards and bytes to do, by which actors, and the estimate."""
    yield "source", dry.source
    yield "rows in", f"{dry.rows_in:,} = {dry.rows:,} to do + {dry.rows_already_done:,} already done"
    if dry.rows_vanished:
        yield "vanished", vanished(dry.rows_vanished)
    yield "shards", _shards(dry)
    yield (
        "bytes",
        "unknown: the source does not report sizes" if dry.size_bytes is None else units.size(dry.size_bytes),
    )
    yield (
        "actors",
        f"{units.count(dry.decoders, 'decoder')}, {units.count(dry.embedders, 'embedder')}, chunks of {dry.chunk_rows}",
    )
    yield "model", f"{dry.model} ({dry.dtype}{', exact' if dry.exact else ''})"
    if dry.signals:
        yield "signals", ", ".join(dry.signals)
    yield "output", Marked(Code(dry.output))
    yield "run_date", dry.run_date
    yield "estimate", f"{_time(dry)} ({dry.estimate_basis})"
    if dry.work:
        yield from _work(dry.work)
    if dry.price:
        yield "price", _price(dry.price)
    yield from left_out(dry.skipped)
    for note in dry.notes:
        yield "source", Marked(note, tone="warning")


def _work(work: Work) -> Facts:
    """Requests, bytes to write, and hours."""
    gets = "GET unknown (tars and tables are read in parts)" if work.gets is None else f"{work.gets:,} GET"
    none = work.gets == work.lists == work.puts == 0
    requests = f"{gets}, {work.lists:,} LIST, about {work.puts:,} PUT in object stores"
    yield "requests", "none in object stores" if none else requests
    yield "to write", f"about {units.size(work.written_bytes)}"
    hours = [
        f"{name}-hours unknown" if amount is None else f"{amount:,.3g} {name}-hours"
        for name, amount in (("core", work.core_hours), ("GPU", work.gpu_hours))
        if amount != 0
    ]
    yield "compute", f"{', '.join(hours)} ({work.basis})" if hours else "none"


def _price(price: Price) -> str:
    """`12.00 USD = 4.00 GET + 8.00 GPUs; without traffic`."""
    parts = " + ".join(f"{amount:,.2f} {name}" for name, amount in price.parts.items() if amount)
    total = f"about {price.total:,.2f} {price.currency}" + (f" = {parts}" if parts else "")
    monthly = "" if price.monthly is None else f"; then {price.monthly:,.2f} a month for storage"
    left_out = f"; without {', '.join(price.left_out)}, of unknown price or amount" if price.left_out else ""
    return total + monthly + left_out


def _shards(dry: DryRun) -> str:
    least, most = dry.smallest_shard, dry.largest_shard
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{dry.shards:,} of {each} records" if dry.shards else "none"


def _time(dry: DryRun) -> str:
    if dry.estimate_s is None:
        return "unknown"
    if not dry.rows:
        return "no time"
    working = figures.duration(dry.estimate_s - dry.startup_s)
    return f"about {working} plus about {figures.duration(dry.startup_s)} start-up"
