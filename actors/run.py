"""One run: plan, feed the actors, sum up.

In: a `RunConfig` and a `Session` to work in. Out: a `Summary`, the committed shards in OUT, and `_runs/<run_id>/` with
progress and summary. What a run commits stays whatever happens to it; the same call goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from actors.crew import limits
from actors.reporting import bottleneck
from actors.reporting.files import Reporter
from actors.scheduler.dispatch import Dispatcher
from actors.scheduler.meter import Meter
from actors.session import Session
from actors.stopping import StopSignal, Wish
from pipeline.config import RunConfig
from pipeline.dataset.checks.status import Status, status
from pipeline.errors import HanclipError
from pipeline.jobs.progress import OnProgress, Progress, State, Summary
from pipeline.plan.make import Plan, make_plan, make_retry_plan, new_run_id


class Run:
    """The parts of one run that its steps share.

    Args:
        config: what to do.
        on_progress: called about twice a second, first with the state "planning".
        wish: stops the run like SIGTERM.

    Attributes:
        run_id: names the run.
        stop: the signal or wish that came while the actors worked; noted even if nothing was left to stop.
    """

    def __init__(self, config: RunConfig, on_progress: OnProgress | None = None, wish: Wish | None = None) -> None:
        self.run_id = new_run_id()
        self.stop = StopSignal(wish)
        self._config = config
        self._on_progress = on_progress or (lambda _: None)
        self._on_progress(Progress(self.run_id, "planning"))

    def embed(self, session: Session) -> Summary:
        """Embed everything in the source that has no outcome in the output yet."""
        self._nothing = "Nothing to do: every record has an outcome."
        return self._go(session, lambda: make_plan(self._config, self._model, self.run_id, self._layout.decoders))

    def retry(self, session: Session, out: str, reasons: tuple[str, ...]) -> Summary:
        """Try the quarantined records of `out` with one of `reasons` again."""
        self._nothing = "Nothing to try again."
        return self._go(session, lambda: make_retry_plan(self._config, self._model, self.run_id, out, reasons))

    def _go(self, session: Session, plan: Callable[[], Plan]) -> Summary:
        """Plan, and carry the plan out if there is anything to do."""
        began_s = time.monotonic()
        self._model = session.model(self._config.model)
        pinned = self._config.model.model_copy(update={"weights_sha256": self._model.weights_sha256})
        self._config = self._config.model_copy(update={"model": pinned})
        self._layout = session.layout(self._config, self._model)
        self._plan = plan()
        # From here on a signal is noted and not raised: an exception between a thread's start and its registration
        # would leave a thread that nobody can end.
        with self.stop:
            return self._carry_out(session, began_s)

    def _carry_out(self, session: Session, began_s: float) -> Summary:
        self._meter = Meter(self.run_id, self._plan.rows, self._plan.rows_already_done, len(self._plan.shards))
        self._reporter = Reporter(self._plan.uri, self._meter, self._on_progress)
        if not self._plan.rows:
            return self._summary("complete", began_s, None, self._nothing)
        self._reporter.report()
        if self.stop.number is not None:
            return self._stopped(began_s, self.stop.number)
        try:
            with session.crew(self._config, self._plan, self._model, self._layout, self._stop_noted) as pools:
                bounds = limits(self._config, self._plan, self._model, self._layout)
                self._dispatch(Dispatcher(pools, bounds, self._meter))
        except SystemExit as early:  # A signal came while Ray started, which hears of it only afterwards.
            code = early.code if isinstance(early.code, int) else 1
            self.stop.note(code - 128)
            return self._summary("stopped", began_s, code, "Stopped while Ray started; the same command goes on.")
        except HanclipError as error:
            return self._summary("failed", began_s, 1, str(error))
        number, left = self.stop.number, self._plan.rows - self._meter.rows_done
        if number is not None and left:
            return self._stopped(began_s, number)
        # A signal now waits for the summary: everything is committed.
        return self._summary("complete", began_s, None, "")

    def _stop_noted(self) -> None:
        self._on_progress(Progress(self.run_id, "stopping", waiting_for="Ray to finish starting"))

    def _stopped(self, began_s: float, number: int) -> Summary:
        return self._summary("stopped", began_s, 128 + number, "Stopped; the same command goes on.")

    def _dispatch(self, dispatcher: Dispatcher) -> None:
        def poll() -> None:
            if self.stop.number is not None:
                self._meter.state("stopping")
                dispatcher.stop_within(self._config.cluster.grace_s)
            self._reporter.report_if_due()

        dispatcher.run(iter(self._plan.shards), poll)

    def _look(self) -> tuple[Status | None, tuple[str, ...]]:
        """The dataset after the run; without a look at it, a note: what is committed is complete, judged or not."""
        try:
            return status(self._plan.dataset.uri, reports=False), ()
        except HanclipError as error:
            note = f"The share of quarantined records is not known, `hanclip status` tells it later: {error}"
            return None, (note,)

    def _summary(self, state: State, began_s: float, exit_code: int | None, message: str) -> Summary:
        self._meter.state(state)
        self._meter.close()
        progress = self._meter.progress()
        plan = self._plan
        # The share is the verdict on what is complete; a stop must not wait for it.
        held, notes = self._look() if state == "complete" else (None, ())
        share = held.quarantine_share if held else 0.0
        if exit_code is None:
            exit_code = 3 if share > self._config.output.max_quarantine else 0
        busy, seconds = self._meter.busy(), time.monotonic() - began_s
        summary = Summary(
            run_id=self.run_id,
            state=progress.state,
            output=self._config.output.uri,
            run_date=plan.run_date,
            model=self._model.name,
            rows_planned=plan.rows,
            rows_already_done=plan.rows_already_done,
            rows_elsewhere=self._meter.rows_elsewhere,
            rows_left=plan.rows - self._meter.rows_done,
            stats=progress.stats,
            seconds=seconds,
            actors_replaced=progress.actors_replaced,
            startup_s=seconds - self._meter.flowing_s(),
            bottleneck=bottleneck.find(busy, self._meter.working_s(), self._layout),
            exit_code=exit_code,
            message=message,
            rows_in_source=plan.rows_in_source,
            rows_vanished=plan.rows_vanished,
            quarantine_share=share,
            notes=(*plan.source.notes, *notes),
            examples=_examples(held, progress.stats.quarantined) if held else {},
        )
        self._reporter.close(summary)
        return summary


def _examples(held: Status, reasons: Iterable[str]) -> dict[str, str]:
    """One quarantined id for each reason of this run."""
    return {reason: held.examples[reason] for reason in reasons if reason in held.examples}
