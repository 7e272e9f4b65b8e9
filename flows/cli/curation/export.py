"""`hanclip export`: what may be typed; what it does is in `flows.commands.curation.export`.

In: the command line. Out: a call with parsed values. Imported for `hanclip --help`, so nothing heavy.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.options.shared import CURATE, Debug, Json, Output, examples
from pipeline.curation.export.registry import FORMATS, ExportFormat

_TO = "What to write: " + "; ".join(f"[bold]{name}[/bold] ({what})" for name, what in FORMATS.items()) + "."


def _about(name: str) -> str:
    from pipeline.curation.export.options import ExportOptions

    field = ExportOptions.model_fields[name]
    return f"{field.description} \\[default: {field.default}]" if field.default else str(field.description)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=CURATE,
        epilog=examples(
            "hanclip export out/ features/ --to chinese-clip --split valid",
            "hanclip export out/ features/ --to chinese-clip --number-ids",
            "hanclip export out/ matrices/ --to npy --column text --column image_uri",
            "hanclip export out/ s3://bucket/points --to qdrant --vectors both",
        ),
    )(export)


def export(
    out: Output,
    dest: Annotated[str, typer.Argument(metavar="DEST", help="Folder to write to; local path or URL.")],
    to: Annotated[ExportFormat, typer.Option("--to", help=_TO)],
    vectors: Annotated[Literal["image", "text", "both"] | None, typer.Option(help=_about("vectors"))] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_about("columns"))] = None,
    rows_per_file: Annotated[int | None, typer.Option(min=1, help=_about("rows_per_file"))] = None,
    split: Annotated[str | None, typer.Option(help=_about("split"))] = None,
    number_ids: Annotated[bool, typer.Option("--number-ids", help=_about("number_ids"))] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the latest vectors in another format, ids beside them; the same command again writes the same."""
    from flows.commands.curation import export as shell

    chosen = {"vectors": vectors, "columns": tuple(column or ()), "rows_per_file": rows_per_file}
    given = {**chosen, "split": split, "number_ids": number_ids}
    options = shell.options({name: value for name, value in given.items() if value or value == ""})
    shell.write_export(shell.Target(out, dest, to), options, dry_run, as_json)
