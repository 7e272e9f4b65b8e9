"""`hanclip verify`."""

from __future__ import annotations

import typer

from flows.options.shared import Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=examples("hanclip verify out/", "hanclip verify s3://bucket/embeddings --json"))(verify)


def verify(out: Output, as_json: Json = False, debug: Debug = False) -> None:
    """Audit a dataset: every planned row once, files whole, vectors sound. Exit 1 when any is missing or wrong."""
    from flows.commands.verify import show_verify  # keeps --help light

    raise typer.Exit(show_verify(out, as_json))
