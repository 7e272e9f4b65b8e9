"""Arguments, options and help texts that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Headings of `hanclip --help`.
MEASURE, CURATE, SCHEDULE = "Measure and search", "Clean and hand over", "Jobs and schedules"
ONLINE = "Online"

#: What commands over a finished dataset have.
Output = Annotated[str, typer.Argument(metavar="OUT", help="Folder of the dataset; local path or URL.")]
DatasetModel = Annotated[str | None, typer.Option(help="Where the dataset's model is now, if no longer where it was.")]

#: What commands with options of a run have.
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file with any options of `hanclip embed`.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No display and no summary; errors only.")]

#: What every command has.
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, as does HANCLIP_DEBUG=1.")]


def examples(*lines: str) -> str:
    """An epilog with one command a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in lines)])
