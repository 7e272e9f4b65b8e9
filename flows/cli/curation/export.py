"""`hanclip export`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.options.curation import EXPORT
from flows.options.keywords import options
from flows.options.shared import CURATE, Debug, Json, Output, examples
from pipeline.curation.export.registry import FORMATS, ExportFormat

TO_HELP = "What to write: " + "; ".join(f"[bold]{name}[/bold] ({known.help})" for name, known in FORMATS.items()) + "."


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip export out/ features/ --to chinese-clip --split valid",
            "hanclip export out/ features/ --to chinese-clip --number-ids",
            "hanclip export out/ matrices/ --to npy --column text --column image_uri",
            "hanclip export out/ folder/ --to hf --images",
            "hanclip export out/ tars/ --to webdataset --image-name jpg",
            "hanclip export out/ rows/ --to milvus --rename '价格=price'",
            "hanclip export out/ s3://bucket/points --to qdrant --vectors both",
        ),
    )(export)


@options(EXPORT)
def export(
    out: Output,
    dest: Annotated[str, typer.Argument(metavar="DEST", help="Folder to write to; local path or URL.")],
    to: Annotated[ExportFormat, typer.Option("--to", help=TO_HELP)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be written; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Write the latest vectors in another format, with their ids; the same command again writes the same."""
    chosen = EXPORT.parsed(options)
    from flows.commands.curation import export as work  # keeps --help light

    work.write_export(work.Target(out, dest, to), chosen, dry_run, as_json)
