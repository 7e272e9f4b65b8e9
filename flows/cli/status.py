"""`hanclip status`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import Debug, Json, Output, examples

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=examples("hanclip status out/", "hanclip status s3://bucket/embeddings --runs 365 --json"))(
        status
    )


def status(
    out: Output,
    runs: Annotated[int, typer.Option(min=0, help="How many of the newest runs to report.")] = _SHOWN,
    recount: Annotated[
        bool,
        typer.Option("--recount", help="Count all files and plans again, not only what came since the last count."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Report how far a dataset is: committed, quarantined, left."""
    from flows.commands.status import show_status  # keeps --help light

    show_status(out, as_json, runs, recount)
