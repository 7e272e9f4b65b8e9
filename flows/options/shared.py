"""Options and help texts that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


#: Headings of `hanclip --help`.
MEASURE, CURATE, SCHEDULE = "Measure and search", "Clean and hand over", "Jobs and schedules"


#: Options that every command has.
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for machines.")]


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


#: What commands over a finished dataset have.
Output = Annotated[str, typer.Argument(metavar="OUT", help="Folder of the dataset; local path or URL.")]


DatasetModel = Annotated[str | None, typer.Option(help="Where the dataset's model is now, if no longer where it was.")]


def examples(*lines: str) -> str:
    """An epilog with one command a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])
