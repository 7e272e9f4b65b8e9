"""`hanclip backfill` and `hanclip partitions`: what may be typed; what it does is in `flows.commands.backfill`.

In: the command line. Out: calls with parsed values. Imported for `hanclip --help`, so nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options.backfill import backfill_options, request_of
from flows.options.run import build
from flows.options.shared import SCHEDULE, Debug, Json, examples
from flows.options.target import build_target, target_options
from pipeline.errors import ConfigError

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No display and no grid; errors only.")]

TEMPLATE_HELP = (
    "Source addresses with {date}, {date:%Y/%m/%d} or {key} in them; last, the output folder. "
    "Quote them against the shell."
)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        rich_help_panel=SCHEDULE,
        epilog=examples(
            "hanclip backfill 's3://bucket/dt={date}/*.tar' s3://bucket/out --start 2026-11-01 --dry-run",
            "hanclip backfill 'photos/{date:%Y/%m/%d}' out/ --latest 30 --order newest",
            "hanclip backfill 's3://bucket/dt={date}/*.tar' s3://bucket/out --latest 30 --jobs-address http://head:8265",
            "hanclip backfill 'shops/{key}/items.parquet' out/ --partition shop-1 --partition shop-2",
            "hanclip backfill 's3://bucket/dt={date}/*.tar' s3://bucket/out-2 --start 2026-11-01 --model MODEL",
        ),
    )(backfill)
    app.command(
        rich_help_panel=SCHEDULE,
        epilog=examples("hanclip partitions out/", "hanclip partitions s3://bucket/out --json"),
    )(partitions)


@target_options()
@backfill_options
def backfill(
    paths: Annotated[list[str] | None, typer.Argument(metavar="TEMPLATE... OUT", help=TEMPLATE_HELP)] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any options of `hanclip embed`.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Embed partitions, usually days, that are not done yet, as jobs here or on a cluster; run it again to resume.

    A partition that is run again is listed again, and what has no outcome in OUT yet is embedded: records that are new
    or changed. What is there stays, and quarantined records stay in quarantine (see `hanclip retry`). One dataset has
    one model: to embed everything with another one, name a new OUT.
    """
    request, target = request_of(options), build_target(options)
    run_config = build(paths or (), config, options)
    if not (run_config.source.uris and run_config.output.uri):
        raise ConfigError("No source and no output were given. Write: hanclip backfill TEMPLATE... OUT --start DATE")
    from flows.commands import backfill as backfill_run

    raise typer.Exit(backfill_run.backfill(run_config, request, target, as_json, quiet))


def partitions(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder of the output dataset; local path or URL.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the partitions of a dataset and how the last run of each ended."""
    from flows.commands import backfill as backfill_run

    backfill_run.show_partitions(out, as_json)
