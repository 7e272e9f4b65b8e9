"""The `hanclip` command: parse, call one function below, show what it says.

In: the command line. Out: results on stdout, the display and errors on stderr, and an exit code that tells the truth:
0 complete, 1 failed, 2 wrong use, 3 complete but too much quarantine, 130 after Ctrl-C, 143 after SIGTERM. Everything
heavy (Ray, torch, Arrow) is imported by the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.stopping import exit_on_sigterm
from flows.cli import backfill as backfill_commands
from flows.cli import jobs as job_commands
from flows.cli import model as model_commands
from flows.cli.curation import classify as classify_commands
from flows.cli.curation import dedup as dedup_commands
from flows.cli.curation import evaluate as evaluate_commands
from flows.cli.curation import export as export_commands
from flows.cli.curation import filter as filter_commands
from flows.cli.curation import report as report_commands
from flows.cli.curation import search as search_commands
from flows.cli.curation import similarity as similarity_commands
from flows.cli.dev import app as dev_app
from flows.cli.lazy import LazyTyper
from flows.options.run import build, config_options
from flows.options.shared import SCHEDULE, Debug, Json, examples
from pipeline import __version__
from pipeline.errors import ConfigError, HanclipError
from pipeline.vocabulary import Reason

app = LazyTyper(
    name="hanclip",
    help="Chinese-CLIP embeddings and similarities for image catalogs and image-text datasets, on Ray, as Parquet.",
    epilog="Start here:\n\n  hanclip demo\n\n  hanclip embed photos/ out/ --model demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

#: What a retry may do otherwise than the run before it. The rest decides what the dataset is.
RETRY_OPTIONS = (
    "source.max_image_bytes",
    "source.read_timeout_s",
    "source.retry_timeout_s",
    "source.read_concurrency",
    "source.allow_private_hosts",
    "image",
    "model",
    "output.run_date",
    "output.max_quarantine",
    "cluster",
)

REASON_HELP = f"Quarantine reason to run again, several if given several times, else all. One of: {', '.join(Reason)}."

Output = Annotated[str, typer.Argument(metavar="OUT", help="Folder of the output dataset; local path or URL.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No display and no summary; errors only.")]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit; errors meant for a person become one message without a traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    exit_on_sigterm()
    try:
        app(given, prog_name="hanclip")
    except HanclipError as error:
        if "--debug" in given:
            raise
        if "--json" in given:
            failure = {"event": "error", "message": str(error), "exit_code": error.exit_code}
            typer.echo(json.dumps(failure, ensure_ascii=False))
        from flows.terminal.plain import plain

        typer.secho(f"error: {plain(error)}", fg="red", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hanclip {__version__}")
        raise typer.Exit


@app.callback()
def hanclip(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of the program itself."""


@app.command(
    epilog=examples(
        "hanclip embed photos/ out/",
        "hanclip embed 's3://bucket/tars/*.tar' s3://bucket/embeddings --decoders 16",
        "hanclip embed items.parquet out/ --id-column sku --image-column url --text-column title",
        "hanclip embed photos/ out/ --dry-run",
        "hanclip embed --print-config > run.yaml; hanclip embed --config run.yaml photos/ out/",
    )
)
@config_options()
def embed(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE... OUT", help="Folders, tars, tables, URLs or globs; last, the output folder."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of these options.")] = None,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config", help="Print the whole configuration; stop. With --json in one line, for a flow."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate; start nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Embed a folder, tars, tables or a bucket; the same command again resumes."""
    run_config = build(paths or (), config, options)
    if print_config and not as_json:
        typer.echo(run_config.to_yaml(), nl=False)
        return
    if not (run_config.source.uris and run_config.output.uri):
        raise ConfigError("No source and no output were given. Write: hanclip embed SOURCE... OUT")
    from flows.commands import embed as runs

    if print_config:
        from flows.options.absolute import absolute

        typer.echo(absolute(run_config).model_dump_json())
    elif dry_run:
        runs.show_plan(run_config, as_json)
    else:
        raise typer.Exit(runs.embed(run_config, as_json, quiet))


@app.command(
    epilog=examples(
        "hanclip retry out/",
        "hanclip retry out/ --reason timeout",
        "hanclip retry s3://bucket/embeddings --reason unavailable --reason not_found",
    )
)
@config_options(*RETRY_OPTIONS)
def retry(
    out: Output,
    reason: Annotated[list[Reason] | None, typer.Option(metavar="REASON", help=REASON_HELP)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Run quarantined records again, and nothing else. Options not given are those of the newest run."""
    from flows.commands import embed as runs

    raise typer.Exit(runs.retry(out, tuple(reason or ()), options, as_json, quiet))


@app.command(epilog=examples("hanclip status out/", "hanclip status s3://bucket/embeddings --json"))
def status(out: Output, as_json: Json = False, debug: Debug = False) -> None:
    """Say how far a dataset is: committed, quarantined, left."""
    from flows.commands.status import show_status

    show_status(out, as_json)


@app.command(epilog=examples("hanclip verify out/", "hanclip verify s3://bucket/embeddings --json"))
def verify(out: Output, as_json: Json = False, debug: Debug = False) -> None:
    """Audit a dataset: every planned row once, files whole, vectors sound. Exit 1 when something is amiss."""
    from flows.commands.verify import show_verify

    raise typer.Exit(show_verify(out, as_json))


@app.command(
    epilog=examples(
        "hanclip compact out/ snapshots/2026-01-31/",
        "hanclip compact s3://bucket/embeddings s3://bucket/snapshots/2026-01-31 --dry-run",
    )
)
def compact(
    out: Output,
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Folder of the snapshot: empty, or an unfinished one of OUT.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would hold; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the latest state of every id as a clean dataset of its own; the same command again resumes."""
    from flows.commands import compact as snapshots

    snapshots.write_snapshot(out, snapshot, dry_run, as_json)


@app.command(epilog=examples("hanclip demo", "hanclip demo /tmp/demo --query 红苹果 --query 一只猫"))
def demo(
    out: Annotated[str, typer.Argument(metavar="[OUT]", help="Folder of the output dataset.")] = "hanclip-demo",
    query: Annotated[list[str] | None, typer.Option(help="Chinese text to search for, in place of the five.")] = None,
    debug: Debug = False,
) -> None:
    """Embed the catalog that ships with the model that ships, then search it. No network, no GPU."""
    from flows.commands import demo as shipped

    raise typer.Exit(shipped.run(out, tuple(query or ())))


search_commands.register(app)
similarity_commands.register(app)
evaluate_commands.register(app)
classify_commands.register(app)
dedup_commands.register(app)
report_commands.register(app)
filter_commands.register(app)
export_commands.register(app)
model_commands.register(app)
job_commands.register(app)
backfill_commands.register(app)
app.add_typer(dev_app, rich_help_panel=SCHEDULE)
