"""`hanclip compact`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import Debug, Json, Output, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        epilog=examples(
            "hanclip compact out/ snapshots/2026-01-31/",
            "hanclip compact s3://bucket/embeddings s3://bucket/snapshots/2026-01-31 --dry-run",
        )
    )(compact)


def compact(
    out: Output,
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Folder of the snapshot: empty, or an unfinished one of OUT.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what it would hold; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the latest state of every id as a clean dataset of its own; the same command again resumes."""
    from flows.commands import compact as snapshots  # keeps --help light

    snapshots.write_snapshot(out, snapshot, dry_run, as_json)
