"""Instances of DuckDB, which workspaces use one after another: to open one takes 24 ms of CPU, more than most queries.

In: the limits of a workspace. Out: a connection to an instance that nobody else uses, to an empty database in it. What
a connection made ends with it: tables and views with the database, what was registered or set with the connection.
"""

from __future__ import annotations

import atexit
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from pipeline.scratch.quoting import quoted

#: Of a process. A command opens few workspaces inside of others.
_KEPT = 3
_DATABASE = "workspace"
#: Idle instances by process: a forked one has none of the threads of its parent's.
_idle: dict[int, list[Any]] = defaultdict(list)


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance in use.

    Attributes:
        root: its first connection.
        connection: to an empty database in it.
    """

    root: Any
    connection: Any

    def keep(self) -> None:
        """Leave it to the next workspace. Not after an error, nor with locked settings or a temporary folder in use."""
        import duckdb  # see `pipeline.scratch.workspace`

        try:
            self.connection.close()
            self.root.execute(f"DETACH {_DATABASE}")
            # What it read of files is forgotten: files are replaced under their names.
            self.root.execute("SET enable_external_file_cache = false; SET enable_external_file_cache = true")
        except duckdb.Error:  # a result is still being read
            self.root.close()
            return
        idle = _idle[os.getpid()]
        if len(idle) < _KEPT:
            idle.append(self.root)
        else:
            self.root.close()

    def close(self) -> None:
        """End it."""
        self.connection.close()
        self.root.close()


@atexit.register
def _end_all() -> None:
    """End the idle ones of this process; DuckDB reports what it finds alive after this."""
    while idle := _idle[os.getpid()]:
        idle.pop().close()


os.register_at_fork(before=_end_all)  # a forked process has none of their threads, and crashes when it ends them


def take(settings: dict[str, object]) -> Instance:
    """An instance with these settings. All callers set the same ones."""
    root = _with(settings)
    connection = root.cursor()
    connection.execute(f"ATTACH ':memory:' AS {_DATABASE}; USE {_DATABASE}")
    return Instance(root, connection)


def _with(settings: dict[str, object]) -> Any:
    import duckdb  # see `pipeline.scratch.workspace`

    try:
        root = _idle[os.getpid()].pop()  # in one step: another thread may take one, too
    except IndexError:
        return duckdb.connect(config=settings)
    try:
        for name, value in settings.items():
            root.execute(f"SET {name} = {quoted(str(value))}")
    except duckdb.Error:
        root.close()
        return duckdb.connect(config=settings)
    return root
