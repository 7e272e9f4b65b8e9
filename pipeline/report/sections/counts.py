"""Counts of records by outcome, in total and by run, with the speed of each run.

In: the plans, outcomes and summaries of a dataset. Out: counts from the plans and from the outcomes, which must agree,
and the rates and bottlenecks of its runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.dataset import layout
from pipeline.dataset.checks.status import RunStatus, Status, status
from pipeline.dataset.history import planned_runs, records
from pipeline.dataset.outcomes import Outcome, spread
from pipeline.report.charts import Chart, Tick, bars
from pipeline.report.material import Material
from pipeline.report.quantities import moment
from pipeline.report.wording import Phrase, known, say
from pipeline.stats import Stats

_MOST_RUNS, _MOST_BARS = 14, 200


@dataclass(frozen=True, slots=True)
class Total:
    """States of records: planned = embedded + quarantined + open.

    Attributes:
        planned: distinct pairs of record and fingerprint in the plans.
        embedded: of these, those with vectors.
        quarantined: of these, those without vectors whose attempts failed.
        open: of these, those without an outcome: not done yet, or changed or removed in the source before they were.
        unplanned: pairs with an outcome that are in no plan.
        current: ids with a current row.
    """

    planned: int
    embedded: int
    quarantined: int
    open: int
    unplanned: int
    current: int

    @property
    def adds_up(self) -> bool:
        """Whether every planned record is accounted for, and there are no others."""
        return self.planned == self.embedded + self.quarantined + self.open and not self.unplanned


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """One run. planned = embedded + quarantined + elsewhere + left once it has `ended`."""

    run_id: str
    started: str
    state: str
    ended: bool
    planned: int
    stats: Stats
    elsewhere: int
    left: int
    seconds: float
    per_s: float
    bottleneck: str
    advice: str
    busy: dict[str, float]

    @property
    def adds_up(self) -> bool:
        """Whether the run accounts for every record that it planned."""
        return self.planned == self.stats.records + self.elsewhere + self.left


@dataclass(frozen=True, slots=True)
class CountsSection:
    """The section. `runs` are newest first; `rates` is None if there are fewer than two runs to compare."""

    status: Status
    total: Total
    runs: list[ReportedRun]
    more_runs: int
    rates: Chart | None
    fastest: float
    stats: Stats


def counts(material: Material) -> CountsSection:
    """Count the dataset and its runs."""
    found = status(material.dataset.uri)
    runs = [_run(run) for run in found.runs]
    worked = [run for run in reversed(runs) if run.stats.records]
    return CountsSection(
        status=found,
        total=_total(material),
        runs=runs[:_MOST_RUNS],
        more_runs=max(0, len(runs) - _MOST_RUNS),
        rates=_rates(worked[-_MOST_BARS:]),
        fastest=max((run.per_s for run in runs), default=0),
        stats=sum((run.stats for run in runs), Stats()),
    )


def _total(material: Material) -> Total:
    material.work.register("records", records(planned_runs(layout.runs(material.dataset.uri))))
    row = material.one(
        f"""
        WITH planned AS (SELECT DISTINCT id, source_fingerprint FROM records),
        done AS (
            SELECT id, source_fingerprint, max(kind) AS kind FROM outcomes
            WHERE kind IN ({Outcome.EMBEDDED}, {Outcome.QUARANTINED}) GROUP BY id, source_fingerprint
        )
        SELECT count(*) FILTER (p.id IS NOT NULL), count(*) FILTER (kind = {Outcome.EMBEDDED}),
               count(*) FILTER (kind = {Outcome.QUARANTINED}), count(*) FILTER (kind IS NULL),
               count(*) FILTER (p.id IS NULL)
        FROM planned AS p FULL JOIN done USING (id, source_fingerprint)
        """
    )
    planned, embedded, quarantined, still_open, unplanned = map(int, row)
    return Total(planned, embedded, quarantined, still_open, unplanned, material.rows)


def _run(run: RunStatus) -> ReportedRun:
    report = run.report
    stats = _stats(report.get("stats", {}))
    ended = "exit_code" in report
    seconds = float(report.get("seconds" if ended else "elapsed_s", 0))
    working = max(1.0, seconds - float(report.get("startup_s", 0)))
    slowest: dict[str, Any] = report.get("bottleneck") or {}
    stages = {stage["name"]: stage["busy"] for stage in report.get("stages", ())}
    return ReportedRun(
        run_id=run.run_id,
        started=_started(run.run_id),
        state=run.state,
        ended=ended,
        planned=int(report.get("rows_planned", 0)),
        stats=stats,
        elsewhere=int(report.get("rows_elsewhere", 0)),
        left=int(report.get("rows_left", 0)),
        seconds=seconds,
        per_s=stats.records / working,
        bottleneck=slowest.get("stage") or "",
        advice=slowest.get("advice", ""),
        busy=dict(slowest.get("busy", stages)),
    )


def _stats(plain: dict[str, Any]) -> Stats:
    known = {name: value for name, value in plain.items() if name in Stats.__dataclass_fields__}
    return Stats(**{**known, "quarantined": Counter(plain.get("quarantined", {}))})


def _started(run_id: str) -> str:
    """`20261122T011423.901Z-4fdc1e` -> `2026-11-22 01:14`; any other id is returned unchanged."""
    try:
        return datetime.strptime(run_id.partition(".")[0], "%Y%m%dT%H%M%S").strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return run_id


def _rates(runs: list[ReportedRun]) -> Chart | None:
    if len(runs) < 2:
        return None
    ticks = [Tick(100 * (i + 0.5) / len(runs), moment(runs[i].started)) for i in spread(range(len(runs)), 5)]
    top = say("speed.top", rate=f"{max(run.per_s for run in runs):,.1f}")
    drawn = bars([run.per_s for run in runs], [_title(run) for run in runs])
    return Chart(say("speed.chart"), drawn, ticks, say("speed.axis"), top)


def _title(run: ReportedRun) -> Phrase:
    rate, started = f"{run.per_s:,.1f}", moment(run.started)
    if not run.bottleneck:
        return say("speed.bar_even", started=started, rate=rate)
    return say("speed.bar", started=started, rate=rate, stage=known(f"stage.{run.bottleneck}", run.bottleneck))
