"""The command line of `hanclip filter`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.options.shared import CURATE, Debug, Json, Output, examples
from pipeline.vocabulary import Form


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "filter",
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip filter out/ --where 'similarity >= 0.28 and image_width >= 200 and keep'",
            "hanclip filter out/ --rules rules.yaml --dry-run",
            "hanclip filter out/ --where keep --threshold-for 'keep=30%'",
            "hanclip filter out/ clean/ --as dataset --where 'keep and percentile > 20'",
            "hanclip filter out/ s3://bucket/tars --as tars --where keep --tar-rows 5000",
        ),
    )(filter_rows)


def filter_rows(
    out: Output,
    dest: Annotated[
        str | None,
        typer.Argument(metavar="[DEST]", help="Where the kept rows go; ids go to OUT/filter/NAME if not given."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Condition on a row's columns that is true for rows to keep.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file of named conditions; rows pass that pass all.")
    ] = None,
    threshold_for: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Find a cut-off: 'keep=30%' of the highest similarities, or 'COLUMN keep=30%'."
        ),
    ] = None,
    form: Annotated[Form, typer.Option("--as", help="What to write of the kept rows.")] = Form.IDS,
    name: Annotated[str, typer.Option(metavar="NAME", help="Names the tables of this filter.")] = "default",
    tar_rows: Annotated[int, typer.Option(min=1, metavar="N", help="Rows of a tar.")] = 10_000,
    tar_bytes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="A tar with so many bytes is full as well.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Keep the rows that pass every rule, and say for each other row which rule dropped it."""
    from flows.commands.curation import filter as filters

    given = {"where": where, "threshold_for": threshold_for, "form": form, "dest": dest, "name": name}
    settings = filters.settings_of(rules, **given, tar_rows=tar_rows, tar_bytes=tar_bytes)
    filters.run(out, settings, dry_run, as_json)
