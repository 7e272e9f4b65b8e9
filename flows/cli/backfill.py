"""`hanclip backfill` and `hanclip partitions`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.backfill import BACKFILL
from flows.options.keywords import options
from flows.options.run import RUN, build_complete
from flows.options.shared import SCHEDULE, ConfigFile, Debug, Json, Output, Quiet, examples
from flows.options.target import TARGET, build_target

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


@options(BACKFILL, RUN.without("output.run_date"), TARGET)  # the date of a partition is its run date
def backfill(
    paths: Annotated[list[str] | None, typer.Argument(metavar="TEMPLATE... OUT", help=TEMPLATE_HELP)] = None,
    config: ConfigFile = None,
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
    request, target = BACKFILL.parsed(options), build_target(options)
    run_config = build_complete(paths or (), config, options, "backfill TEMPLATE... OUT --start DATE")
    from flows.commands import backfill as backfill_run  # keeps --help light

    raise typer.Exit(backfill_run.backfill(run_config, request, target, as_json, quiet))


def partitions(out: Output, as_json: Json = False, debug: Debug = False) -> None:
    """Show the partitions of a dataset and how the last run of each ended."""
    from flows.commands import backfill as backfill_run  # keeps --help light

    backfill_run.show_partitions(out, as_json)
