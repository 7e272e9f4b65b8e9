"""The `hanclip` command: one module per command, which parses and calls its namesake in `flows.commands`."""

from __future__ import annotations

import sys

from actors.exiting import exit_at_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        argv: in place of the process's own arguments. The process then belongs to the caller, who keeps its signal
            handlers and its stderr.
    """
    if argv is None:
        exit_at_once()
    # All other imports wait for this: they take half a second, in which Ctrl-C must not end in a traceback.
    from flows.cli.app import run, run_process

    sys.exit(run_process() if argv is None else run(list(argv)))
