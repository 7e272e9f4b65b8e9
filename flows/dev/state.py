"""The state of a local stack on disk: its folder, secrets, ports and processes.

In: a folder. Out: `Place` (paths), `Secrets` (created once, readable by their owner only), `StackState` (saved after
each process start, so that `hanclip dev down` finds all processes even if `up` was killed).

    with usable(folder): ...     a full or read-only disk is an error that says what to do
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.dev.ports import Ports
from flows.dev.processes import OwnProcess
from pipeline.errors import RunError
from pipeline.validation import validated

#: Below this a server starts and then fails at its first writes, with an empty log.
_FREE_BYTES = 256 * 2**20
#: Longest temporary folder below which Ray's sockets, whose paths are limited to 107 bytes, find room.
_LONGEST_TEMP = 24


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
    s3_internal: str = Field(
        default_factory=lambda: secrets.token_hex(32),
        description="Signs what the S3 server's parts send each other, so that their ports refuse everybody else.",
    )

    @property
    def prefect_auth(self) -> str:
        """User and password, in the form that Prefect's server, clients and pages use."""
        return f"hanclip:{self.prefect_password}"


class StackState(_File):
    """The saved state; the stack is down if there are no processes."""

    ports: Ports = Field(description="The ports, kept from one start to the next.")
    scratch: Path = Field(
        description="Ray's sessions and every temporary file of the services. Saved, because TMPDIR may differ later."
    )
    processes: dict[str, OwnProcess] = Field(default_factory=dict, description="By the service's name.")

    @property
    def ray_folder(self) -> Path:
        """Where Ray has its sessions; Ray lets everybody write there, so it is not the scratch folder itself."""
        return self.scratch / "r"

    @property
    def temp_folder(self) -> Path:
        """TMPDIR of the services."""
        return self.scratch / "t"

    def alive(self, name: str) -> bool:
        """Whether a service's process runs."""
        return name in self.processes and self.processes[name].alive


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a stack."""

    folder: Path

    @classmethod
    def find(cls, folder: Path) -> Place:
        """The folder, whether it exists or not."""
        return cls(folder.expanduser().resolve())

    @classmethod
    def at(cls, folder: Path) -> Place:
        """The folder, created if it does not exist."""
        place = cls.find(folder)
        for sub in ("logs", "prefect", "s3", "secrets"):
            (place.folder / sub).mkdir(parents=True, exist_ok=True)
        (place.folder / "secrets").chmod(0o700)
        return place

    def scratch(self) -> Path:
        """A folder for temporary files, created for this user only.

        Its path is short and in ASCII, because sockets are below it; a longer TMPDIR is not used.
        """
        base = tempfile.gettempdir()
        base = base if base.isascii() and len(base) <= _LONGEST_TEMP else "/tmp"
        digest = hashlib.sha256(f"{os.getuid()} {self.folder}".encode()).hexdigest()[:8]
        scratch = Path(base) / f"hd-{digest}"
        scratch.mkdir(mode=0o700, exist_ok=True)
        if scratch.is_symlink() or scratch.stat().st_uid != os.getuid():
            raise RunError(f"{scratch} belongs to another user: have it removed, or set TMPDIR to another folder.")
        return scratch

    def check_space(self, scratch: Path) -> None:
        """Refuse a start on a full disk, where servers fail without a word.

        Raises:
            RunError: there is too little space.
        """
        for folder in (self.folder, scratch):
            if (free := shutil.disk_usage(folder).free) < _FREE_BYTES:
                raise RunError(
                    f"The disk of {folder} has {free // 2**20:,} MiB left, and the stack needs {_FREE_BYTES // 2**20}: "
                    "free space, or give another folder with --folder (TMPDIR for temporary files)."
                )

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

    @property
    def ray_logs(self) -> Path:
        """The logs of Ray sessions that have ended."""
        return self.folder / "logs" / "ray"

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


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the file and what to do.

    Raises:
        RunError: the stack's folder, or one that it needs, is full, read-only or not a folder.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or folder}: {error.strerror or error}. The stack keeps its state, data and logs in "
            f"{folder}: make it writable and free space, or give another folder with --folder."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
