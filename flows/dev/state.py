"""What is known of a local stack: where it lives, its secrets, its ports, its processes.

In: a folder. Out: `Place` (paths), `Secrets` (made once, readable by their owner alone), `State` (saved after each
process that is started, so that `hanclip dev down` finds them all even if `up` was killed).
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
    """What the servers of this stack ask of their clients."""

    prefect_password: str = Field(
        default_factory=lambda: secrets.token_hex(32), description="Password of the user hanclip at the Prefect server."
    )
    ray_token: str = Field(default_factory=lambda: secrets.token_hex(32), description="Bearer token of the Ray head.")
    s3_key: str = Field(default_factory=lambda: secrets.token_hex(10), description="S3 access key.")
    s3_secret: str = Field(default_factory=lambda: secrets.token_hex(20), description="S3 secret key.")

    @property
    def prefect_auth(self) -> str:
        """User and password, as Prefect's server, its clients and its pages want them."""
        return f"hanclip:{self.prefect_password}"


class State(_File):
    """The stack as it was last seen. Without processes: it is down."""

    ports: Ports = Field(description="The ports, kept from one start to the next.")
    processes: dict[str, OwnProcess] = Field(default_factory=dict, description="By the service's name.")

    @property
    def alive(self) -> bool:
        """All of it runs."""
        return bool(self.processes) and all(process.alive for process in self.processes.values())


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a stack."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Place:
        """The folder, made if it is not there."""
        place = cls(folder.expanduser().resolve())
        for sub in ("logs", "prefect", "s3", "secrets"):
            (place.folder / sub).mkdir(parents=True, exist_ok=True)
        (place.folder / "secrets").chmod(0o700)
        return place

    @property
    def ray_folder(self) -> Path:
        """Ray's sessions and logs. Short, because the path of a socket may have 107 bytes only."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"hanclip-dev-{os.getuid()}-{digest}"

    @property
    def env_file(self) -> Path:
        """Shell lines that make the stack the one that hanclip, prefect and ray talk to."""
        return self.folder / "secrets" / "env.sh"

    @property
    def ray_token_file(self) -> Path:
        """The token, as Ray reads it."""
        return self.folder / "secrets" / "ray_token"

    def log(self, service: str) -> Path:
        """What a service writes."""
        return self.folder / "logs" / f"{service}.log"

    def secrets(self) -> Secrets:
        """The secrets; made at the first call."""
        path = self.folder / "secrets" / "secrets.json"
        written = path.read_text() if path.exists() else "{}"
        made = Secrets.model_validate_json(written)
        # Also where the file is older than one of the secrets.
        if made.model_dump_json() != written:
            write_private(path, made.model_dump_json())
            write_private(self.ray_token_file, made.ray_token)
        return made

    def load(self) -> State | None:
        """The saved state; None: this stack was never started."""
        path = self.folder / "stack.json"
        if not path.exists():
            return None
        cure = "Remove it; then 'hanclip dev down' ends the rest."
        return validated(State, path.read_bytes(), f"{path} is not valid", cure=cure)

    def save(self, state: State) -> None:
        """Replace the saved state at once."""
        path = self.folder / "stack.json"
        part = path.with_suffix(".part")
        part.write_text(state.model_dump_json(indent=2))
        part.replace(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time; a second one waits."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
