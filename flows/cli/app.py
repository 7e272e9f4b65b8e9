"""The `hanclip` command: one module per command, each registered here by one line.

In: the command line. Out: results on stdout, the display and errors on stderr, and an exit code: 0 complete, 1 failed,
2 wrong use, 3 complete but too much quarantine, 130 after Ctrl-C, 143 after SIGTERM. Modules of `flows.cli` are
imported for `hanclip --help`, so they import nothing heavy (Ray, torch, Arrow, pydantic); their functions do.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from actors.exiting import exit_at_once
from actors.machine.native_stderr import separate_python
from actors.stopping import Interrupted, named
from flows.cli import backfill, compact, demo, dev, embed, jobs, model, status, verify
from flows.cli.curation import classify, dedup, evaluate, export, find, report, search, similarity, sync
from flows.cli.curation import filter as filter_rows
from flows.cli.lazy import LazyTyper
from flows.cli.serving import keys, serve
from flows.options.shared import Debug
from flows.terminal.typed import as_text
from pipeline import __version__
from pipeline.faults import reported

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
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Options of the program itself."""


# In the order of `hanclip --help`.
for command in (
    embed,
    status,
    verify,
    compact,
    demo,
    find,
    search,
    similarity,
    evaluate,
    classify,
    dedup,
    report,
    filter_rows,
    export,
    sync,
    serve,
    keys,
    model,
    jobs,
    backfill,
    dev,
):
    command.register(app)


def run(given: list[str]) -> int:
    """Run the command line; returns the exit code. Any exception or signal becomes one message without a traceback."""
    try:
        with named():
            app(as_text(given), prog_name="hanclip")
    except Interrupted as stop:
        _report(given, stop.message, 128 + stop.number, stop.message)
        return 128 + stop.number
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # noqa: BLE001 - the last border: a traceback is for --debug alone
        if _wants_traceback(given):
            import traceback  # only here

            traceback.print_exc()
        known = reported(error)
        _report(given, str(known), known.exit_code, f"error: {known}")
        return known.exit_code
    return 0


def run_process() -> int:
    """Run the arguments of this process, which must be about to exit with the returned code."""
    separate_python()
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end the command; JSON is UTF-8 everywhere.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if "--json" in sys.argv else None, errors="backslashreplace")
    code = run(sys.argv[1:])
    with suppress(OSError):  # reported when the interpreter ends
        sys.stdout.flush()
    exit_at_once(code)
    return code


def _wants_traceback(given: list[str]) -> bool:
    return "--debug" in given or os.environ.get("HANCLIP_DEBUG", "0") not in ("", "0")


def _report(given: list[str], message: str, exit_code: int, shown: str) -> None:
    if "--json" in given:
        typer.echo(json.dumps({"event": "error", "message": message, "exit_code": exit_code}, ensure_ascii=False))
    from flows.terminal.plain import plain  # keeps --help light

    typer.secho(str(plain(shown)), fg="red", err=True)
