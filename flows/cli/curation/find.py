"""`hanclip find`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.curation import FIND
from flows.options.keywords import options
from flows.options.shared import CURATE, DatasetModel, Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples("hanclip find out/ photo.jpg", "hanclip find out/ s3://bucket/new.png --image-cosine 0.97"),
    )(find)


@options(FIND)
def find(
    out: Output,
    image: Annotated[list[str], typer.Argument(metavar="FILE...", help="Pictures to look for; paths or URLs.")],
    model: DatasetModel = None,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Say whether a picture is in the dataset already: by bytes, pixels, perceptual hash and vector, as in dedup."""
    settings = FIND.parsed(options)
    from flows.commands.curation.find import show_find  # keeps --help light

    show_find(out, image, settings, model, as_json)
