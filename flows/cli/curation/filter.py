"""`hanclip filter`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options.curation import FILTER
from flows.options.keywords import options
from flows.options.shared import CURATE, Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "filter",
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip filter out/ --where 'similarity >= 0.28 and image_width >= 200 and keep'",
            "hanclip filter out/ --rules rules.yaml --dry-run",
            "hanclip filter out/ --where keep --threshold-for 'keep=30%'",
            "hanclip filter out/ --where 'group_size < 100' --threshold-for 'chance keep=30%'",
            "hanclip filter out/ picked/ --as dataset --ids ids.txt",
            "hanclip filter out/ clean/ --as dataset --where 'keep and percentile > 20'",
            "hanclip filter out/ s3://bucket/tars --as tars --where keep --tar-rows 5000",
        ),
    )(filter_rows)


@options(FILTER)
def filter_rows(
    out: Output,
    dest: Annotated[str | None, typer.Argument(metavar="[DEST]", help=FILTER.about("dest"))] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Keep the rows that pass every rule, and record for each other row which rule dropped it."""
    from flows.commands.curation import filter as filters  # keeps --help light

    given = FILTER.given(options)
    if "rules" in given:
        given["rules"] = filters.named_rules(Path(given["rules"]))
    filters.run(out, FILTER.validated({**given, "dest": dest}), dry_run, as_json)
