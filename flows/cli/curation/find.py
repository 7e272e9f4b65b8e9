"""`hanclip find`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import CURATE, DatasetModel, Debug, Json, Output, examples

_RADIUS, _COSINE = 3, 0.985


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples("hanclip find out/ photo.jpg", "hanclip find out/ s3://bucket/new.png --image-cosine 0.97"),
    )(find)


def find(
    out: Output,
    image: Annotated[list[str], typer.Argument(metavar="FILE...", help="Pictures to look for; paths or URLs.")],
    phash_radius: Annotated[
        int, typer.Option(metavar="N", min=0, max=10, help="Perceptual hashes that differ in at most this many bits.")
    ] = _RADIUS,
    image_cosine: Annotated[
        float, typer.Option(metavar="X", min=0.5, max=1, help="Image vectors with at least this cosine.")
    ] = _COSINE,
    model: DatasetModel = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say whether a picture is in the dataset already: by bytes, pixels, perceptual hash and vector, as in dedup."""
    from flows.commands.curation.find import show_find  # keeps --help light
    from pipeline.curation.dedup.settings import DedupSettings  # keeps --help light

    settings = DedupSettings(phash_radius=phash_radius, image_cosine=image_cosine)
    show_find(out, image, settings, model, as_json)
