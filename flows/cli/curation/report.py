"""`hanclip report`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import CURATE, DatasetModel, Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip report out/",
            "hanclip report s3://bucket/embeddings --to catalog.html",
            "hanclip report out/ --drops 20000",
        ),
    )(report)


def report(
    out: Output,
    to: Annotated[
        str, typer.Option(metavar="FILE", help="The page to write, in a folder that exists; path or URL.")
    ] = "report.html",
    drops: Annotated[
        int,
        typer.Option(
            min=0,
            help="Dropped duplicates to show beside the rows that they duplicate, on pages in a folder next to FILE; "
            "0 for no such pages.",
        ),
    ] = 1000,
    model: DatasetModel = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write an HTML page that shows what is in a dataset, and what is wrong with it."""
    from flows.commands.curation import report as page  # keeps --help light

    page.show(out, to, model, drops, as_json)
