"""A Postgres from Debian's packages, on a loopback port of its own, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from sessions import end_session, free_port, until


def postgres_binaries() -> Path | None:
    """Folder of the newest Postgres that Debian's packages installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return found[-1] if found else None


@dataclass
class Postgres:
    """A Postgres in `folder`; it refuses to run as root, so root hands it to the user that Debian made for it."""

    folder: Path
    binaries: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        if os.getuid() == 0:
            self.folder.chmod(0o755)
            shutil.chown(data, "postgres", "postgres")
        subprocess.run(
            self._as_owner("initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"),
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._as_owner(
                    *("postgres", "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1"),
                    *("-c", "unix_socket_directories=", "-c", "fsync=off"),
                ),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._ready, "Postgres", 60)

    def stop(self) -> None:
        if self.process:
            end_session(self.process, signal.SIGINT)
            self.process = None
        shutil.rmtree(self.folder)

    def _ready(self) -> bool:
        command = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _as_owner(self, program: str, *arguments: str) -> list[str]:
        words = [str(self.binaries / program), *arguments]
        return (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words] if os.getuid() == 0 else words
        )
