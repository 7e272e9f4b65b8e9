"""Entrypoints: carry out one run, or a job of several runs, in this process.

In: a `RunConfig`, or the `job.json` of a submitted job. `python -m actors.driver FILE` accepts either as a file; it is
the entrypoint of a Ray job and then joins the cluster that it runs on. Out: a `Summary` or a `JobSummary`, and what the
runs write to OUT. Committed shards stay whatever happens; running the same again continues from there.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence

from actors.jobs.driver import JobDriver
from actors.reporting.run_log import RunLog
from actors.run import Run
from actors.session import Session
from actors.stopping import Interrupted, StopRequest, named, raise_on_signals
from pipeline import storage
from pipeline.config import RunConfig, parse_text
from pipeline.errors import HanclipError
from pipeline.faults import translated
from pipeline.jobs.folder import is_job, read_job
from pipeline.jobs.job import JobSummary, OnJobProgress
from pipeline.jobs.progress import OnProgress, Summary
from pipeline.yaml_text import YamlText, read_yaml

__all__ = ["main", "retry", "run", "run_job"]


def run(config: RunConfig, on_progress: OnProgress | None = None) -> Summary:
    """Embed everything in the source that has no outcome in the output yet.

    Raises:
        UsageError: the request cannot be carried out as given; nothing was started.
        StorageError: the source cannot be listed or the output cannot be written.
    """
    asked = Run(config, on_progress)
    with Session(config.cluster) as session:
        return asked.embed(session)


def retry(
    out: str,
    reasons: tuple[str, ...],
    configs: Sequence[RunConfig],
    on_progress: OnProgress | None = None,
) -> Iterator[Summary]:
    """Retry the quarantined records of `out` that have one of `reasons`: a run for the source of each of `configs`.

    The configurations differ in nothing else. A run that was stopped is the last one.
    """
    with Session(configs[0].cluster) as session:
        for config in configs:
            ended = Run(config, on_progress).retry(session, out, reasons)
            yield ended
            if ended.state == "stopped":
                return


def run_job(uri: str, on_progress: OnJobProgress | None = None, stop: StopRequest | None = None) -> JobSummary:
    """Carry out the job whose `job.json` is at `uri`. May be called from any thread, but not concurrently.

    Args:
        uri: of the `job.json`.
        on_progress: called about twice a second.
        stop: such as a `threading.Event`; once set, the job ends as after SIGTERM.

    Raises:
        HanclipError: there is no such job. Errors of its runs are in the summary.
    """
    return JobDriver(uri, read_job(uri), on_progress, stop).carry_out()


def main(arguments: list[str] | None = None) -> int:
    """Carry out the job or the saved `RunConfig` in the file that is the only argument; returns the exit code."""
    paths = sys.argv[1:] if arguments is None else arguments
    if len(paths) != 1:
        sys.stderr.write(
            "usage: python -m actors.driver JOB.json|RUN.json|RUN.yaml\n"
            "(hanclip submit writes a job, hanclip embed --print-config a run)\n"
        )
        return 2
    raise_on_signals()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    for package in ("pipeline", "actors", __name__):
        logging.getLogger(package).setLevel(logging.INFO)  # Other packages log warnings and errors only.
    try:
        with named(), translated():
            return _carry_out(paths[0])
    except HanclipError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Interrupted as stop:
        sys.stderr.write(f"{stop.message}\n")
        return 128 + stop.number


def _carry_out(uri: str) -> int:
    """Carry out a job or a run in JSON from any store, as jobs are stored, or a run in YAML from this machine."""
    if storage.is_local(uri) and not uri.endswith(".json"):
        return _run_logged(parse_text(read_yaml(uri, "Write one with hanclip embed --print-config.")))
    text = storage.read_bytes(uri).decode("utf-8", "replace")
    if _is_job(text):
        return run_job(uri).exit_code
    return _run_logged(parse_text(YamlText(uri, text)))


def _is_job(text: str) -> bool:
    try:
        tree = json.loads(text)
    except ValueError:
        return False
    return isinstance(tree, dict) and is_job(tree)


def _run_logged(config: RunConfig) -> int:
    log = RunLog("run", config.source.uris)
    summary = run(config, log.update)
    log.end(summary.state, summary.message, summary)
    sys.stdout.write(json.dumps(summary.to_json(), ensure_ascii=False) + "\n")
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
