"""`hanclip status`."""

from __future__ import annotations

import typer

from flows.options.shared import Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=examples("hanclip status out/", "hanclip status s3://bucket/embeddings --json"))(status)


def status(out: Output, as_json: Json = False, debug: Debug = False) -> None:
    """Report how far a dataset is: committed, quarantined, left."""
    from flows.commands.status import show_status  # keeps --help light

    show_status(out, as_json)
