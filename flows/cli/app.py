"""The `hanclip` command: one module per command, each registered here by one line.

In: the command line. Out: results on stdout, the display and errors on stderr, and an exit code: 0 complete, 1 failed,
2 wrong use, 3 complete but too much quarantine, 130 after Ctrl-C, 143 after SIGTERM. Modules of `flows.cli` are
imported for `hanclip --help`, so they import nothing heavy (Ray, torch, Arrow, pydantic); their functions do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from actors.machine.native_stderr import separate_python
from actors.stopping import exit_on_sigterm
from flows.cli import backfill, compact, demo, dev, embed, jobs, model, status, verify
from flows.cli.curation import classify, dedup, evaluate, export, report, search, similarity
from flows.cli.curation import filter as filter_rows
from flows.cli.lazy import LazyTyper
from pipeline import __version__
from pipeline.errors import HanclipError
from pipeline.faults import translated

app = LazyTyper(
    name="hanclip",
    help="Chinese-CLIP embeddings and similarities for image catalogs and image-text datasets, on Ray, as Parquet.",
    epilog="Start here:\n\n  hanclip demo\n\n  hanclip embed photos/ out/ --model demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hanclip {__version__}")
        raise typer.Exit


@app.callback()
def hanclip(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of the program itself."""


# In the order of `hanclip --help`.
for command in (
    embed,
    status,
    verify,
    compact,
    demo,
    search,
    similarity,
    evaluate,
    classify,
    dedup,
    report,
    filter_rows,
    export,
    model,
    jobs,
    backfill,
    dev,
):
    command.register(app)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit; errors meant for a person become one message without a traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    exit_on_sigterm()
    separate_python()
    try:
        with translated():
            app(given, prog_name="hanclip")
    except HanclipError as error:
        if "--debug" in given:
            raise
        if "--json" in given:
            failure = {"event": "error", "message": str(error), "exit_code": error.exit_code}
            typer.echo(json.dumps(failure, ensure_ascii=False))
        from flows.terminal.plain import plain  # keeps --help light

        typer.secho(f"error: {plain(error)}", fg="red", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
