"""`hanclip submit` and `hanclip jobs list|logs|stop`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.cli.lazy import LazyTyper
from flows.options.keywords import options
from flows.options.run import RUN, build_complete
from flows.options.shared import SCHEDULE, ConfigFile, Debug, Json, examples
from flows.options.target import REACH, TARGET, build_cluster

JOB_NAME_HELP = "Attach to the job with this name and output, if there is one, instead of submitting another."
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


@options(RUN, TARGET)
def submit(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE... OUT", help="As for embed, by names that the cluster knows; last, the output."
        ),
    ] = None,
    config: ConfigFile = None,
    job_name: Annotated[str | None, typer.Option(help=JOB_NAME_HELP)] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id and return.")] = False,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No display and no log; the job's id, and errors.")
    ] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Embed as a job on a Ray cluster, and follow it; it continues when this command is interrupted."""
    run_config = build_complete(paths or (), config, options, "submit SOURCE... OUT")
    target = build_cluster(options)
    from flows.commands import jobs as shell  # keeps --help light

    raise typer.Exit(shell.submit(run_config, target, job_name, detach, shell.screen(as_json, quiet)))


@jobs.command("list", epilog=examples("hanclip jobs list --jobs-address http://head:8265"))
@options(TARGET.only(*REACH))
def list_jobs(as_json: Json = False, debug: Debug = False, **options: Any) -> None:
    """List the jobs that hanclip submitted, newest first."""
    from flows.commands import jobs as shell  # keeps --help light

    shell.show_list(build_cluster(options), as_json)


@jobs.command(epilog=examples("hanclip jobs logs submit-1f2e3d4c5b6a-november-a1 --jobs-address http://head:8265 -f"))
@options(TARGET.only(*REACH))
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the job has ended.")] = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Print the log of a job's driver."""
    from flows.commands import jobs as shell  # keeps --help light

    shell.show_logs(build_cluster(options), job, follow)


@jobs.command(epilog=examples("hanclip jobs stop submit-1f2e3d4c5b6a-november-a1 --jobs-address http://head:8265"))
@options(TARGET.only(*REACH, "stop_wait_s"))
def stop(
    job: JobId,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Stop a job and wait until it has ended; what it committed stays. Stopping it again does nothing."""
    from flows.commands import jobs as shell  # keeps --help light

    shell.stop(build_cluster(options), job, as_json)
