"""The state of a local stack on disk: its folder, secrets, ports and processes.

In: a folder. Out: `Place` (paths), `Secrets` (created once, readable by their owner only), `StackState` (saved after
each process start, so that `hanclip dev down` finds all processes even if `up` was killed).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.dev.ports import Ports
from flows.dev.processes import OwnProcess
from pipeline.validation import validated


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Secrets(_File):
    """The credentials for the servers of this stack."""

    prefect_password: str = Field(
        default_factory=lambda: secrets.token_hex(32), description="Password of the user hanclip at the Prefect server."
    )
    ray_token: str = Field(default_factory=lambda: secrets.token_hex(32), description="Bearer token of the Ray head.")
    s3_key: str = Field(default_factory=lambda: secrets.token_hex(10), description="S3 access key.")
    s3_secret: str = Field(default_factory=lambda: secrets.token_hex(20), description="S3 secret key.")

    @property
    def prefect_auth(self) -> str:
        """User and password, in the form that Prefect's server, clients and pages use."""
        return f"hanclip:{self.prefect_password}"


class StackState(_File):
    """The saved state; the stack is down if there are no processes."""

    ports: Ports = Field(description="The ports, kept from one start to the next.")
    processes: dict[str, OwnProcess] = Field(default_factory=dict, description="By the service's name.")

    @property
    def alive(self) -> bool:
        """Whether all processes run."""
        return bool(self.processes) and all(process.alive for process in self.processes.values())


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a stack."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Place:
        """The folder, created if it does not exist."""
        place = cls(folder.expanduser().resolve())
        for sub in ("logs", "prefect", "s3", "secrets"):
            (place.folder / sub).mkdir(parents=True, exist_ok=True)
        (place.folder / "secrets").chmod(0o700)
        return place

    @property
    def ray_folder(self) -> Path:
        """Ray's sessions and logs. Short, because the path of a socket is limited to 107 bytes."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"hanclip-dev-{os.getuid()}-{digest}"

    @property
    def env_file(self) -> Path:
        """Shell script that points hanclip, prefect and ray to the stack."""
        return self.folder / "secrets" / "env.sh"

    @property
    def ray_token_file(self) -> Path:
        """The file from which Ray reads its token."""
        return self.folder / "secrets" / "ray_token"

    def log(self, service: str) -> Path:
        """The log file of a service."""
        return self.folder / "logs" / f"{service}.log"

    def secrets(self) -> Secrets:
        """The secrets; created at the first call."""
        path = self.folder / "secrets" / "secrets.json"
        written = path.read_text() if path.exists() else "{}"
        made = Secrets.model_validate_json(written)
        # Also when a new version added a secret.
        if made.model_dump_json() != written:
            write_private(path, made.model_dump_json())
            write_private(self.ray_token_file, made.ray_token)
        return made

    def load(self) -> StackState | None:
        """The saved state; None if this stack was never started."""
        path = self.folder / "stack.json"
        if not path.exists():
            return None
        cure = "Remove it; then 'hanclip dev down' ends the rest."
        return validated(StackState, path.read_bytes(), f"{path} is not valid", cure=cure)

    def save(self, state: StackState) -> None:
        """Replace the saved state atomically."""
        path = self.folder / "stack.json"
        part = path.with_suffix(".part")
        part.write_text(state.model_dump_json(indent=2))
        part.replace(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Allow one `up` or `down` at a time; a second one waits."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
