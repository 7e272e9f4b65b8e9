"""`hanclip report`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import CURATE, DatasetModel, Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples("hanclip report out/", "hanclip report s3://bucket/embeddings --to catalog.html"),
    )(report)


def report(
    out: Output,
    to: Annotated[str, typer.Option(metavar="FILE", help="The page to write; path or URL.")] = "report.html",
    model: DatasetModel = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page that shows what is in a dataset, and what is wrong with it."""
    from flows.commands.curation import report as page  # keeps --help light

    page.show(out, to, model, as_json)
