"""`hanclip embed` and `hanclip retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options.keywords import options
from flows.options.run import RUN, build, build_complete
from flows.options.shared import ConfigFile, Debug, Json, Output, Quiet, examples
from pipeline.errors import ConfigError
from pipeline.vocabulary import Reason

#: What a retry may do otherwise than the run before it. The rest decides what the dataset is.
RETRY = RUN.only(
    "source.max_image_bytes",
    "source.max_text_chars",
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
PRICES_HELP = "With --dry-run: YAML file of prices, such as infra/prices.example.yaml; prints what the run costs."
PRINT_HELP = "Print the whole configuration and exit; with --json on one line, as a flow's parameter takes it."


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        epilog=examples(
            "hanclip embed photos/ out/",
            "hanclip embed 's3://bucket/tars/*.tar' s3://bucket/embeddings --decoders 16",
            "hanclip embed items.parquet out/ --id-column sku --image-column url --text-column title",
            "hanclip embed photos/ out/ --dry-run --prices prices.yaml",
            "hanclip embed --print-config > run.yaml; hanclip embed --config run.yaml photos/ out/",
        )
    )(embed)
    app.command(
        epilog=examples(
            "hanclip retry out/",
            "hanclip retry out/ --reason timeout",
            "hanclip retry s3://bucket/embeddings --reason unavailable --reason not_found",
        )
    )(retry)


@options(RUN)
def embed(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE... OUT", help="Folders, tars, tables, URLs or globs; last, the output folder."),
    ] = None,
    config: ConfigFile = None,
    print_config: Annotated[bool, typer.Option("--print-config", help=PRINT_HELP)] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate; start nothing.")] = False,
    prices: Annotated[Path | None, typer.Option("--prices", help=PRICES_HELP)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Embed a folder, tars, tables or a bucket; the same command again resumes."""
    if print_config and not as_json:
        typer.echo(build(paths or (), config, options).to_yaml(), nl=False)
        return
    if prices and not dry_run:
        raise ConfigError("--prices says what a run would cost, before it starts: add --dry-run, or leave it out.")
    run_config = build_complete(paths or (), config, options, "embed SOURCE... OUT")
    # keeps --help and --print-config light
    from flows.commands import embed as runs
    from flows.options.absolute import absolute

    if print_config:
        typer.echo(absolute(run_config).model_dump_json())
    elif dry_run:
        runs.show_plan(run_config, prices, as_json)
    else:
        raise typer.Exit(runs.embed(run_config, as_json, quiet))


@options(RETRY)
def retry(
    out: Output,
    reason: Annotated[list[Reason] | None, typer.Option(metavar="REASON", help=REASON_HELP)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Run quarantined records again, and nothing else. Options not given are those of the newest run."""
    from flows.commands import embed as runs  # keeps --help light

    raise typer.Exit(runs.retry(out, tuple(reason or ()), options, as_json, quiet))
