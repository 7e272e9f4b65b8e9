"""`hanclip sync`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.curation import SYNC
from flows.options.keywords import options
from flows.options.shared import CURATE, Debug, Json, Output, examples
from pipeline.curation.sync.registry import DATABASES, Database
from pipeline.errors import ConfigError

_PLACES = "; ".join(f"{name}: {client.dest}" for name, client in DATABASES.items())
DEST_HELP = f"Where the database is. {_PLACES}."
TO_HELP = "The database. Credentials come from the environment: " + ", ".join(
    f"[bold]{name}[/bold] {client.credentials}" for name, client in DATABASES.items()
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip sync out/ http://localhost:6333 --to qdrant",
            "hanclip sync out/ postgresql://shop@db/catalog --to pgvector --where keep",
            "hanclip sync s3://bucket/out s3://bucket/lance --to lance --column text --column image_uri",
            "hanclip sync out/ catalog.db --to milvus --dry-run",
            "hanclip sync out/ http://localhost:6333 --to qdrant --verify --sample 10000",
        ),
    )(sync)


@options(SYNC)
def sync(
    out: Output,
    dest: Annotated[str, typer.Argument(metavar="DEST", help=DEST_HELP)],
    to: Annotated[Database, typer.Option("--to", help=TO_HELP)],
    verify: Annotated[bool, typer.Option("--verify", help="Compare only; exit code 1 if anything differs.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="ROWS", help="With --verify, compare the counts and this many random ids."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be sent; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Bring a vector database to the latest state: insert and replace rows that changed, delete rows that are gone.

    The database holds a watermark, so the next run reads and sends only what changed. After a kill the same command
    goes on.
    """
    settings = SYNC.parsed(options, dest=dest, to=to)
    if sample is not None and not verify:
        raise ConfigError("--sample belongs to --verify: add --verify, or leave --sample out.")
    if verify and dry_run:
        raise ConfigError("--verify and --dry-run exclude each other: give one of them.")
    from flows.commands.curation import sync as work  # keeps --help light

    if verify:
        raise typer.Exit(work.show_verified(out, settings, sample, as_json))
    work.run(out, settings, dry_run, as_json)
