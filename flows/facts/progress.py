"""How far a running job is, as a share and in words."""

from __future__ import annotations

from flows.terminal import figures
from pipeline.jobs.job import JobProgress, StepProgress


def fraction(progress: JobProgress) -> float:
    """The share of a job that is done, 0 to 1. Runs and steps count equally, because their sizes are not known yet."""
    if progress.state == "complete":
        return 1.0
    parts = max(1, progress.runs + progress.steps)
    if progress.step:
        # Later phases of a step may take longer than its first ones, and a share must not decrease.
        return (progress.runs + progress.step.number) / parts
    within = progress.progress.share if progress.progress else 0.0
    return min(1.0, (progress.run + within) / parts)


def describe(progress: JobProgress) -> str:
    """`run 3 of 8: running, 1,200 of 5,000 records, 210 records/s, 12 min 30 s left`."""
    if progress.step:
        return _describe_step(progress.step)
    place, run = f"run {progress.run + 1} of {progress.runs}", progress.progress
    if run is None:
        return f"{place}: {progress.state}"
    words = [f"{place}: {run.state}"]
    if run.rows_planned:
        words.append(f"{run.stats.records:,} of {run.rows_planned:,} records")
    if run.records_per_s:
        words.append(f"{figures.rate(run.records_per_s)} records/s")
    if run.eta_s:
        words.append(f"{figures.duration(run.eta_s)} left")
    if run.waiting_for:
        words.append(f"waiting for {run.waiting_for}")
    return ", ".join(words)


def _describe_step(step: StepProgress) -> str:
    """`dedup: Comparing vectors, 3 of 12`."""
    return f"{step.kind}: {figures.phase(step.doing, step.done, step.total)}"
