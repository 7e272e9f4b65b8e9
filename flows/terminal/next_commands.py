"""Suggests shell commands to run after a run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.jobs.progress import Summary
from pipeline.scratch.quoting import quoted
from pipeline.vocabulary import TRANSIENT_REASONS

#: Characters that need escaping in the shell or in Python quotes; without them the line is easier to read.
_UNSAFE = re.compile(r"['\"$`\\!]")


def next_commands(summary: Summary) -> list[str]:
    """Commands that work whether or not the virtual environment is active."""
    out, quarantined = shlex.quote(summary.output), summary.stats.quarantined
    commands = [f"{_program('hanclip')} verify {out}"]
    if options := retry_options(quarantined):
        commands.append(f"{_program('hanclip')} retry {out} {shlex.join(options)}")
    if "://" not in summary.output:
        if quarantined:
            commands.append(_query("id, reason, detail", summary.output, "_quarantine"))
        if summary.state == "complete":
            # The vectors would fill the screen, and not every dataset has texts.
            commands.append(
                _query("columns(lambda c: c in ('id', 'text', 'similarity'))", summary.output, "embeddings")
            )
    return commands


def retry_options(quarantined: Iterable[str]) -> list[str]:
    """Options of `hanclip retry` for those of the reasons that may pass on a retry; empty if there are none."""
    return [word for reason in sorted(TRANSIENT_REASONS & set(quarantined)) for word in ("--reason", reason)]


def _program(name: str) -> str:
    """The shortest path to a program of this environment that the shell finds."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found and os.path.realpath(found) == os.path.realpath(own):
        return name
    near = os.path.relpath(os.path.realpath(own.parent) + f"/{name}")
    return shlex.quote(str(own) if near.startswith("..") else near)


def _query(columns: str, out: str, folder: str) -> str:
    """A shell command that shows some rows."""
    files = quoted(f"{out}/{folder}/**/*.parquet")
    sql = f"select {columns} from {files} limit 20"
    if _UNSAFE.search(out):
        code = shlex.quote(f"import duckdb; duckdb.sql({sql!r}).show()")
    else:
        code = f"\"import duckdb; duckdb.sql('''{sql}''').show()\""
    return f"{_program('python')} -c {code}"
