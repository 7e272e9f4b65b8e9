"""One run on one screen: plan, start Ray, feed the actors, report.

In: a `RunConfig`; `python -m actors.driver run.json` takes a saved one. Out: a `Summary`, the committed shards in OUT,
and `_runs/<run_id>/` with progress and summary. What a run commits stays whatever happens to it; the same call goes on
from there.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from actors import bottleneck
from actors.cluster import arrange, connected, local_resources
from actors.crew import limits, make_pools
from actors.dispatch import Dispatcher
from actors.dry_run import DryRun, dry_run, weights_bytes
from actors.meter import Meter
from actors.progress import Progress, State, Summary
from actors.reporting import Reporter
from actors.stopping import StopSignal, exit_on_sigterm
from pipeline import config as configs
from pipeline.config import RunConfig
from pipeline.errors import HanclipError
from pipeline.model.checkpoints import resolve
from pipeline.plan import Plan, make_plan, make_retry_plan, new_run_id
from pipeline.status import status

logger = logging.getLogger(__name__)

__all__ = ["DryRun", "dry_run", "main", "retry", "run"]

OnProgress = Callable[[Progress], None]


def run(config: RunConfig, on_progress: OnProgress | None = None) -> Summary:
    """Embed everything in the source that has no outcome in the output yet.

    Raises:
        UsageError: the request cannot be carried out as given; nothing was started.
        StorageError: the source cannot be listed or the output cannot be written.
    """
    return _Run(config, on_progress).go(lambda run: make_plan(run.config, run.model, run.run_id, run.layout.decoders))


def retry(
    out: str,
    reasons: tuple[str, ...],
    config: RunConfig,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Try the quarantined records of `out` with one of `reasons` again, with the source and model of `config`."""
    return _Run(config, on_progress, "Nothing to try again.").go(
        lambda run: make_retry_plan(run.config, run.model, run.run_id, out, reasons)
    )


class _Run:
    """The parts of one run that its steps share."""

    def __init__(
        self,
        config: RunConfig,
        on_progress: OnProgress | None,
        nothing: str = "Nothing to do: every record has an outcome.",
    ) -> None:
        self.nothing = nothing
        self.run_id = new_run_id()
        self.on_progress = on_progress or (lambda _: None)
        self.on_progress(Progress(self.run_id, "planning"))
        self.model = resolve(config.model)
        pinned = config.model.model_copy(update={"weights_sha256": self.model.weights_sha256})
        self.config = config.model_copy(update={"model": pinned})

    def go(self, plan_with: Callable[[_Run], Plan]) -> Summary:
        """Plan, and carry the plan out if there is anything to do."""
        began_s, config = time.monotonic(), self.config
        with ExitStack() as stack:
            if self.config.cluster.address is not None:
                resources = stack.enter_context(connected(self.config.cluster, self._stop_noted))
            else:
                resources = local_resources()
            self.layout = arrange(
                resources, config.cluster, config.model, weights_bytes(self.model), self.model.image_size
            )
            self.plan = plan_with(self)
            self.meter = Meter(self.run_id, self.plan.rows, self.plan.rows_already_done, len(self.plan.shards))
            self.reporter = Reporter(self.plan.uri, self.meter, self.on_progress)
            if not self.plan.rows:
                return self._summary("complete", began_s, None, self.nothing)
            self.reporter.report()
            if self.config.cluster.address is None:
                try:
                    stack.enter_context(connected(self.config.cluster, self._stop_noted))
                except SystemExit as stopped:
                    code = stopped.code if isinstance(stopped.code, int) else 1
                    return self._summary(
                        "stopped", began_s, code, "Stopped while Ray started; the same command goes on."
                    )
            return self._embed(began_s)

    def _stop_noted(self) -> None:
        self.on_progress(Progress(self.run_id, "stopping", waiting_for="Ray to finish starting"))

    def _embed(self, began_s: float) -> Summary:
        pools = make_pools(self.config, self.plan, self.model, self.layout)
        with StopSignal() as stop:
            dispatcher = Dispatcher(pools, limits(self.config, self.plan, self.model, self.layout), self.meter)

            def poll() -> None:
                if stop.number is not None:
                    self.meter.state("stopping")
                    dispatcher.stop_within(self.config.cluster.grace_s)
                self.reporter.report_if_due()

            try:
                dispatcher.run(iter(self.plan.shards), poll)
            except HanclipError as error:
                return self._summary("failed", began_s, 1, str(error))
            finally:
                pools.stop()
            left = self.plan.rows - self.meter.rows_done
            if stop.number is not None and left:
                return self._summary("stopped", began_s, 128 + stop.number, "Stopped; the same command goes on.")
        return self._summary("complete", began_s, None, "")

    def _summary(self, state: State, began_s: float, exit_code: int | None, message: str) -> Summary:
        self.meter.state(state)
        progress = self.meter.progress()
        plan = self.plan
        held = None if state == "failed" else status(plan.dataset.uri)
        share = held.quarantine_share if held else 0.0
        if exit_code is None:
            exit_code = 3 if share > self.config.output.max_quarantine else 0
        busy, seconds = self.meter.busy(), time.monotonic() - began_s
        summary = Summary(
            run_id=self.run_id,
            state=progress.state,
            output=self.config.output.uri,
            run_date=plan.run_date,
            model=self.model.name,
            rows_planned=plan.rows,
            rows_already_done=plan.rows_already_done,
            rows_elsewhere=self.meter.rows_elsewhere,
            rows_left=plan.rows - self.meter.rows_done,
            stats=progress.stats,
            seconds=seconds,
            actors_replaced=progress.actors_replaced,
            startup_s=seconds - self.meter.flowing_s(),
            bottleneck=bottleneck.find(busy, self.meter.working_s(), self.layout),
            exit_code=exit_code,
            message=message,
            quarantine_share=share,
            notes=plan.source.notes,
            examples={}
            if held is None
            else {reason: held.examples[reason] for reason in progress.stats.quarantined if reason in held.examples},
        )
        self.reporter.close(summary)
        return summary


def main(arguments: list[str] | None = None) -> int:
    """Run the `RunConfig` saved as JSON or YAML in the file that is the only argument; returns the exit code."""
    paths = sys.argv[1:] if arguments is None else arguments
    if len(paths) != 1:
        sys.stderr.write("usage: python -m actors.driver RUN.json   (write one with hanclip embed --print-config)\n")
        return 2
    exit_on_sigterm()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        summary = run(configs.parse(configs.load_yaml(paths[0])), _log_progress())
    except HanclipError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(summary.to_json(), ensure_ascii=False) + "\n")
    return summary.exit_code


def _log_progress(every_s: float = 10.0) -> OnProgress:
    last_s = -every_s

    def log(progress: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= every_s:
            last_s = time.monotonic()
            logger.info(
                "%s %s: %d of %d shards, %.1f records/s",
                progress.run_id,
                progress.state,
                progress.shards_done,
                progress.shards_planned,
                progress.records_per_s,
            )

    return log


if __name__ == "__main__":
    sys.exit(main())
