"""`hanclip compact`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.curation import COMPACT
from flows.options.keywords import options
from flows.options.shared import Debug, Json, Output, examples
from pipeline.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        epilog=examples(
            "hanclip compact out/ --dry-run",
            "hanclip compact s3://bucket/embeddings --leave-days 3",
            "hanclip compact out/ --drop-superseded",
            "hanclip compact out/ snapshots/2026-01-31/",
            "hanclip compact s3://bucket/embeddings s3://bucket/snapshots/2026-01-31 --dry-run",
        )
    )(compact)


@options(COMPACT)
def compact(
    out: Output,
    snapshot: Annotated[
        str | None,
        typer.Argument(
            metavar="[SNAPSHOT]",
            help="Folder of a snapshot, empty or an unfinished one of OUT; without it OUT itself is compacted.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be done; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Rewrite the small files of a dataset as full ones, in place; or write its latest state as a dataset of its own.

    In place, readers and runs may go on meanwhile. The same command again resumes.
    """
    from flows.commands import compact as work  # keeps --help light

    if snapshot is None:
        work.compact_dataset(out, COMPACT.parsed(options), dry_run, as_json)
    elif given := COMPACT.given(options):
        flags = ", ".join(COMPACT.flag(name) for name in given)
        raise UsageError(f"A snapshot takes no {flags}: leave that out, or leave out SNAPSHOT to compact OUT itself.")
    else:
        work.write_snapshot(out, snapshot, dry_run, as_json)
