"""Shell lines that repeat a run or a backfill, with every option that is not at its default, or ask about a job."""

from __future__ import annotations

import shlex

from flows.backfill.request import BackfillRequest
from flows.jobs.target import TargetConfig
from flows.options.backfill import BACKFILL
from flows.options.run import RUN
from flows.options.target import REACH, TARGET
from pipeline.config import RunConfig


def embed_command(config: RunConfig, target: TargetConfig | None = None) -> str:
    """`hanclip submit ...` to where `target` has its jobs run; `hanclip embed ...` for this process."""
    if target is None or target.backend == "local":
        return shlex.join(["hanclip", "embed", *_run_words(config)])
    return shlex.join(["hanclip", "submit", *_run_words(config), *TARGET.words(target)])


def backfill_command(config: RunConfig, request: BackfillRequest, target: TargetConfig) -> str:
    """`hanclip backfill ...`, with its jobs where this backfill had them."""
    return shlex.join(["hanclip", "backfill", *_run_words(config), *BACKFILL.words(request), *TARGET.words(target)])


def jobs_command(verb: str, target: TargetConfig, job_id: str = "") -> str:
    """`hanclip jobs VERB JOB ...`, with what it takes to reach the jobs of `target`."""
    return shlex.join(["hanclip", "jobs", verb, *filter(None, [job_id]), *TARGET.only(*REACH).words(target)])


def _run_words(config: RunConfig) -> list[str]:
    # The address is that of the cluster which ran it, seen from inside.
    return [*config.source.uris, config.output.uri, *RUN.without("cluster.address").words(config)]
