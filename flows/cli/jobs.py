"""The arguments and options of `hanclip submit` and `hanclip jobs list|logs|stop`; `flows.commands.jobs` does the work.

Imported for `hanclip --help`, so it imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.lazy import LazyTyper
from flows.options.run import build, config_options
from flows.options.shared import SCHEDULE, Debug, Json, examples
from flows.options.target import REACH, build_cluster, target_options
from pipeline.errors import ConfigError

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No display and no log; the job's id, and errors.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, as `hanclip jobs list` shows it.")]

jobs = LazyTyper(name="jobs", help="List, read and stop jobs on a Ray cluster.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        rich_help_panel=SCHEDULE,
        epilog=examples(
            "hanclip submit 's3://bucket/tars/*.tar' s3://bucket/embeddings --jobs-address http://head:8265",
            "hanclip submit s3://bucket/photos/ s3://bucket/out --jobs-address http://head:8265 --job-name november",
            "hanclip submit s3://bucket/photos/ s3://bucket/out --rayjob-template infra/kuberay/rayjob.yaml --detach",
        ),
    )(submit)
    app.add_typer(jobs, rich_help_panel=SCHEDULE)


@target_options()
@config_options()
def submit(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE... OUT", help="As for embed, by names that the cluster knows; last, the output."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any options of `hanclip embed`.")] = None,
    job_name: Annotated[str | None, typer.Option(help="Same name and output, same job: attach, not submit.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id and return.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Embed as a job on a Ray cluster, and follow it; it goes on when this command is interrupted."""
    run_config = build(paths or (), config, options)
    if not (run_config.source.uris and run_config.output.uri):
        raise ConfigError("No source and no output were given. Write: hanclip submit SOURCE... OUT")
    target = build_cluster(options)
    from flows.commands import jobs as shell

    raise typer.Exit(shell.submit(run_config, target, job_name, detach, shell.screen(as_json, quiet)))


@jobs.command("list", epilog=examples("hanclip jobs list --jobs-address http://head:8265"))
@target_options(*REACH)
def list_jobs(as_json: Json = False, debug: Debug = False, **options: Any) -> None:
    """The jobs that hanclip submitted, the newest first."""
    from flows.commands import jobs as shell

    shell.show_list(build_cluster(options), as_json)


@jobs.command(epilog=examples("hanclip jobs logs submit-1f2e3d4c5b6a-november-a1 --jobs-address http://head:8265 -f"))
@target_options(*REACH)
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """The log of a job's driver, on stdout."""
    from flows.commands import jobs as shell

    shell.show_logs(build_cluster(options), job, follow)


@jobs.command(epilog=examples("hanclip jobs stop submit-1f2e3d4c5b6a-november-a1 --jobs-address http://head:8265"))
@target_options(*REACH, "stop_wait_s")
def stop(
    job: JobId,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Stop a job and wait for its end; what it committed stays. Stopping it again does nothing."""
    from flows.commands import jobs as shell

    shell.stop(build_cluster(options), job, as_json)
