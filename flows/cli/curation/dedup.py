"""`hanclip dedup`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.curation import DEDUP
from flows.options.keywords import options
from flows.options.shared import CURATE, Debug, Json, Output, examples
from pipeline.errors import ConfigError

ADDRESS_HELP = "Compare vectors on the Ray cluster at this address, such as auto; else in this process."


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip dedup out/",
            "hanclip dedup out/ --suggest",
            "hanclip dedup out/ --image-cosine 0.97 --keep largest",
            "hanclip dedup out/ --rung bytes --rung phash --phash-radius 2",
            "hanclip dedup out/ --rung bytes --rung mirrored",
            "hanclip dedup out/ --rung text --rung near-text --keep-sql 'length(text) DESC'",
            "hanclip dedup out/ --rung bytes --rung image+text --same brand",
            "hanclip dedup out/ --against testset/ --against published/",
            "hanclip dedup s3://bucket/embeddings --address auto",
        ),
    )(dedup)


@options(DEDUP)
def dedup(
    out: Output,
    address: Annotated[str | None, typer.Option(help=ADDRESS_HELP)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what there is to do; write nothing.")] = False,
    suggest: Annotated[
        bool,
        typer.Option("--suggest", help="Show the pairs around the thresholds, so that you can choose; decide nothing."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Find duplicates among the latest rows, and choose one of each group; the next run compares new rows only.

    Writes OUT/dedup/dedup.parquet: one row for each of the latest rows, with its group, the row that stays, and why.
    """
    settings = DEDUP.parsed(options)
    if settings.keep and settings.keep_sql:
        raise ConfigError("--keep and --keep-sql exclude each other: give one of them.")
    if suggest and (dry_run or address):
        raise ConfigError("--suggest compares here and decides nothing: leave --dry-run and --address out.")
    from flows.commands.curation import dedup as work  # keeps --help light

    if suggest:
        work.show_suggestions(out, settings, as_json)
    elif dry_run:
        work.show_plan(out, settings, as_json)
    else:
        work.dedup(out, settings, address, as_json)
