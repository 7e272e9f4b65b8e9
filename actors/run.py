"""One run: makes the plan, feeds the actors, writes the summary.

In: a `RunConfig` and a `Session`. Out: a `Summary`, the committed shards in OUT, and `_runs/<run_id>/` with progress
and summary. Committed shards stay whatever happens; running the same again continues from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from actors.crew import limits
from actors.crew_size import CrewSize, Resources, chosen_number, resize_crew, weights_bytes
from actors.elastic.elastic_crew import CrewRules, ElasticCrew
from actors.exiting import stop_message
from actors.machine.cgroups import Cgroups
from actors.reporting.bottleneck import find_bottleneck
from actors.reporting.files import Reporter
from actors.scheduler.backlog import Limits
from actors.scheduler.dispatch import Dispatcher
from actors.scheduler.failures import ray_errors_translated
from actors.scheduler.meter import Meter
from actors.scheduler.stages import CallKind
from actors.session import Session
from actors.stopping import StopRequest, StopSignal, hold_signals, release_signals, signal_of
from pipeline.config import RunConfig
from pipeline.dataset import layout
from pipeline.dataset.checks.held import HeldCount, count_held
from pipeline.errors import HanclipError, RunError
from pipeline.jobs.progress import OnProgress, Progress, State, Summary
from pipeline.model.checkpoints import ModelSpec
from pipeline.phases import OnWork
from pipeline.plan.draft import Plan
from pipeline.plan.make import make_plan, make_retry_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.sources.places.nearby import check_local

logger = logging.getLogger(__name__)

_Planner = Callable[[RunConfig, ModelSpec, CrewSize, OnWork], Plan]


class Run:
    """One run that was asked for.

    Args:
        config: what to do.
        on_progress: called about twice a second, first with the state "planning".
        request: stops the run like SIGTERM.

    Attributes:
        run_id: names the run.
        stop: the signal or request that arrived while the actors worked, even if all work was already done.
    """

    def __init__(
        self, config: RunConfig, on_progress: OnProgress | None = None, request: StopRequest | None = None
    ) -> None:
        release_signals()
        self.run_id = new_run_id()
        self.stop = StopSignal(request)
        self._config = config
        self._on_progress = on_progress or (lambda _: None)
        self._on_progress(Progress(self.run_id, "planning"))

    def embed(self, session: Session) -> Summary:
        """Embed everything in the source that has no outcome in the output yet."""
        return self._carry_out(
            session,
            lambda config, model, crew, on_work: make_plan(config, model, self.run_id, crew.decoders, on_work),
            "Nothing to do: every record has an outcome.",
        )

    def retry(self, session: Session, out: str, reasons: tuple[str, ...]) -> Summary:
        """Retry the quarantined records of `out` that have one of `reasons`."""
        return self._carry_out(
            session,
            lambda config, model, *_: make_retry_plan(config, model, self.run_id, out, reasons),
            "Nothing to retry.",
        )

    def _carry_out(self, session: Session, planner: _Planner, if_empty: str) -> Summary:
        """Make the plan and carry it out; `if_empty` is the summary's message if there is nothing to do."""
        began_s = time.monotonic()
        check_local(self._config.source.uris)
        model = session.model(self._config.model)
        pinned = self._config.model.model_copy(update={"model_sha256": model.model_sha256})
        config = self._config.model_copy(update={"model": pinned})
        crew = session.crew_size(config, model)
        plan = planner(config, model, crew, lambda: session.expect(config, crew))
        self.run_id = plan.run_id
        # From here on a signal is recorded and not raised: an exception between a thread's start and its registration
        # would leave a thread that nothing can end.
        with self.stop:
            meter = Meter(self.run_id, plan.rows, plan.rows_already_done, len(plan.shards))
            reporter = Reporter(plan.uri, meter, self._on_progress)
            work = _PlannedRun(config, model, crew, plan, self.stop, meter, reporter, began_s)
            return work.carry_out(session) if plan.rows else work.end("complete", message=if_empty)


@dataclass(frozen=True, slots=True)
class _PlannedRun:
    """A run with its plan, and where it reports."""

    config: RunConfig
    model: ModelSpec
    crew: CrewSize
    plan: Plan
    stop: StopSignal
    meter: Meter
    reporter: Reporter
    began_s: float

    def carry_out(self, session: Session) -> Summary:
        self.reporter.report()
        if self.stop.number is not None:
            return self._stopped(self.stop.number)
        try:
            with ray_errors_translated(), session.crew(self.config, self.plan, self.model, self.crew) as pools:
                bounds = self._limits(self.crew)
                oom_kills = Cgroups().oom_kills
                dispatcher = Dispatcher(pools, iter(self.plan.shards), bounds, self.meter, oom_kills)
                elastic = ElasticCrew(self._rules(session), pools, dispatcher.backlog, self.meter, session.cluster)
                notes = self._dispatch(dispatcher, session, elastic)
        except (KeyboardInterrupt, SystemExit) as early:  # A signal while Ray started, or a second Ctrl-C.
            self.stop.record(signal_of(early))
            return self._stopped(self.stop.number or signal_of(early))
        except RunError as error:
            return self.end("failed", 1, f"{error}{session.keep_logs()}")
        except HanclipError as error:
            return self.end("failed", 1, str(error))
        number, left = self.stop.number, self.plan.rows - self.meter.rows_done
        if number is not None and left:
            return self._stopped(number)
        # A signal now waits for the summary: everything is committed.
        return self.end("complete", notes=notes)

    def _limits(self, crew: CrewSize) -> Limits:
        return limits(self.config, self.plan, self.model, crew)

    def _rules(self, session: Session) -> CrewRules:
        cluster, size = self.config.cluster, self.crew
        n_bytes = weights_bytes(self.model)  # read once: the model's folder may be gone when a node joins

        def resize(resources: Resources) -> CrewSize:
            return resize_crew(size, resources, cluster, n_bytes)

        numbers: dict[CallKind, int | None] = {
            "decode": chosen_number(cluster.decoders),
            "embed": chosen_number(cluster.embedders),
        }
        fixed = frozenset(call for call, number in numbers.items() if number)
        return CrewRules(size, resize, self._limits, session.sized_for, fixed)

    def _dispatch(self, dispatcher: Dispatcher, session: Session, elastic: ElasticCrew) -> tuple[str, ...]:
        """Commit the shards; returns notes for the summary."""

        def poll() -> None:
            if self.stop.number is not None:
                self.meter.state("stopping")
                dispatcher.stop_within(self.config.cluster.grace_s)
            if session.head_answers():
                elastic.adjust(time.monotonic())
            self.reporter.report_if_due()

        dispatcher.run(poll, session.head_answers)
        return (dispatcher.memory_note,) if dispatcher.memory_note else ()

    def _stopped(self, number: int) -> Summary:
        return self.end("stopped", 128 + number, stop_message(number))

    def end(self, state: State, exit_code: int = 0, message: str = "", notes: tuple[str, ...] = ()) -> Summary:
        """Report the end. A complete run's exit code is 3 if too large a share of the dataset is in quarantine."""
        hold_signals()  # another Ctrl-C must not lose the summary
        return self._end(state, exit_code, message, notes)

    def _end(self, state: State, exit_code: int, message: str, notes: tuple[str, ...]) -> Summary:
        self.meter.state(state)
        self.meter.close()
        # Only a complete run is judged by the dataset's quarantine; a stop must not wait for that.
        held, unknown = self._status() if state == "complete" else (None, ())
        if held and held.quarantine_share > self.config.output.max_quarantine:
            exit_code = 3
        summary = self._summary(exit_code, message, held, (*notes, *unknown))
        self.reporter.close(summary)
        return summary

    def _status(self) -> tuple[HeldCount | None, tuple[str, ...]]:
        """The dataset after the run, or a note why it is unknown: committed shards are complete in either case."""
        try:
            self.plan.dataset.index_keys()
        except HanclipError as error:
            logger.warning("The index of keys (%s) stays as it is, which costs only time: %s", layout.KEYS, error)
        try:
            return count_held(self.plan.dataset.uri), ()
        except HanclipError as error:
            note = f"The share of quarantined records is unknown; `hanclip status` reports it: {error}"
            return None, (note,)

    def _summary(self, exit_code: int, message: str, held: HeldCount | None, notes: tuple[str, ...]) -> Summary:
        progress, plan, meter = self.meter.progress(), self.plan, self.meter
        seconds = time.monotonic() - self.began_s
        return Summary(
            run_id=progress.run_id,
            state=progress.state,
            output=self.config.output.uri,
            run_date=plan.run_date,
            model=self.model.name,
            rows_planned=plan.rows,
            rows_already_done=plan.rows_already_done,
            rows_elsewhere=meter.rows_elsewhere,
            rows_left=plan.rows - meter.rows_done,
            stats=progress.stats,
            seconds=seconds,
            actors_replaced=progress.actors_replaced,
            startup_s=seconds - meter.flowing_s(),
            bottleneck=find_bottleneck(meter.busy(), meter.working_s(), self._crew_at_last()),
            exit_code=exit_code,
            message=message,
            rows_in_source=plan.rows_in_source,
            rows_vanished=plan.rows_vanished,
            quarantine_share=held.quarantine_share if held else 0.0,
            notes=(*plan.source.notes, *notes),
            examples=_examples(held, progress.stats.quarantined) if held else {},
            skipped=plan.source.skipped,
            crew_changes=progress.crew_changes,
            computing=progress.computing,
        )

    def _crew_at_last(self) -> CrewSize:
        """The crew as it is now."""
        actors = self.meter.actors
        decoders, embedders = actors.get("decode") or self.crew.decoders, actors.get("embed") or self.crew.embedders
        return replace(self.crew, decoders=decoders, embedders=embedders)


def _examples(held: HeldCount, reasons: Iterable[str]) -> dict[str, str]:
    """One quarantined id for each reason of this run."""
    return {reason: held.examples[reason] for reason in reasons if reason in held.examples}
