"""`hanclip dedup`: what may be typed; what it does is in `flows.commands.curation.dedup`.

In: the command line. Out: a call with parsed values. Imported for `hanclip --help`, so nothing heavy.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.shared import CURATE, Debug, Json, Output, examples
from pipeline.vocabulary import Keep, Rung


def _option(field: str, flag: str, metavar: str | None = None) -> Any:
    """An option with its field's description and default, which is given to it later, if it is not typed."""
    from pipeline.curation.dedup.settings import DedupSettings

    info = DedupSettings.model_fields[field]
    default = "" if info.default in (None, ()) else rf" [dim]\[default: {info.default}][/dim]"
    return typer.Option(flag, help=f"{info.description}{default}", show_default=False, metavar=metavar)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip dedup out/",
            "hanclip dedup out/ --image-cosine 0.97 --keep largest",
            "hanclip dedup out/ --rung bytes --rung phash --phash-radius 2",
            "hanclip dedup out/ --rung text --rung near-text --keep-sql 'length(text) DESC'",
            "hanclip dedup s3://bucket/embeddings --address auto",
        ),
    )(dedup)


def dedup(
    out: Output,
    rungs: Annotated[list[Rung] | None, _option("rungs", "--rung", "RUNG")] = None,
    phash_radius: Annotated[int | None, _option("phash_radius", "--phash-radius", "N")] = None,
    image_cosine: Annotated[float | None, _option("image_cosine", "--image-cosine", "X")] = None,
    text_cosine: Annotated[float | None, _option("text_cosine", "--text-cosine", "X")] = None,
    border: Annotated[float | None, _option("border", "--border", "X")] = None,
    keep: Annotated[Keep | None, _option("keep", "--keep")] = None,
    keep_sql: Annotated[str | None, _option("keep_sql", "--keep-sql", "ORDER")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Compare vectors on the Ray cluster at this address, such as auto; else in this process."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find duplicates among the latest rows, and choose one of each group; the next run compares new rows only.

    Writes OUT/dedup/dedup.parquet: one row for each of the latest rows, with its group, the row that stays, and why.
    """
    given = {
        "rungs": rungs,
        "phash_radius": phash_radius,
        "image_cosine": image_cosine,
        "text_cosine": text_cosine,
        "border": border,
        "keep": keep,
        "keep_sql": keep_sql,
    }
    from pipeline.curation.dedup.settings import parse_settings

    settings = parse_settings({name: value for name, value in given.items() if value not in (None, [])})
    from flows.commands.curation import dedup as work

    if dry_run:
        work.show_plan(out, settings, as_json)
    else:
        work.dedup(out, settings, address, as_json)
