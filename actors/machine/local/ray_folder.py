"""The folder of a local Ray: sockets, logs and spilled objects. Chosen so that Ray can start, removed at the end.

In: TMPDIR, or RAY_TMPDIR of a user who wants to keep what Ray writes. Out: an empty folder with a short ASCII path on a
disk that has space, because each of these makes Ray fail with an error that does not name the cause.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from actors.machine.local.processes import end_workers
from pipeline import units
from pipeline.errors import RunError

logger = logging.getLogger(__name__)

_PREFIX = "hc-ray-"
#: The longest that Ray puts after its folder: a session with a pid of seven digits, and its longest socket.
_SOCKET = "/session_2026-01-31_23-59-59_123456_1234567/sockets/plasma_store"
#: sun_path of unix(7), without the final zero.
_LONGEST_SOCKET = 107
_FREE_BYTES = 100 * 2**20
#: What a killed driver left is removed by a later run; the logs of failed runs stay for so long.
_KEPT_S = 3 * 86400.0


class RayFolder:
    """A folder for one local Ray.

    Attributes:
        path: what Ray gets as its temporary folder.
        spill: where Ray spills objects, if that is another folder.
    """

    def __init__(self, path: Path, spill: Path | None, temporary: bool) -> None:
        self.path, self.spill = path, spill
        self._temporary, self._keep_logs = temporary, False
        # Shows other runs that this one lives.
        self._lock = os.open(path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def keep_logs(self) -> str:
        """Keep Ray's logs when the folder is removed; returns where they are."""
        self._keep_logs = True
        return str(self.path)

    def remove(self) -> None:
        """Remove everything, or everything but the logs.

        A folder under the user's RAY_TMPDIR stays, and other Rays may be using it.
        """
        os.close(self._lock)
        if not self._temporary:
            return
        end_workers(self.path)
        # Ray's processes end a moment after `ray.shutdown`, and write until then.
        if self.spill is not None:
            shutil.rmtree(self.spill, ignore_errors=True)
        for _ in range(10):
            _remove(self.path, self._keep_logs)
            if self._keep_logs or not self.path.exists():
                return
            time.sleep(0.1)


def make_ray_folder() -> RayFolder:
    """Make the folder.

    Raises:
        RunError: no folder is suitable; the message names each with its fault.
    """
    if own := os.environ.get("RAY_TMPDIR"):
        if fault := _fault(Path(own, "ray")):
            raise RunError(f"Ray cannot use RAY_TMPDIR: {fault}. Set it to a short path on a disk with space.")
        Path(own, "ray").mkdir(parents=True, exist_ok=True)
        return RayFolder(Path(own, "ray"), None, temporary=False)
    faults: list[str] = []
    for parent in _candidates():
        if fault := _fault(parent / f"{_PREFIX}12345678") if parent.is_dir() else f"{parent} does not exist":
            faults.append(fault)
            continue
        _remove_old(parent)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if faults:
            logger.info("Ray's folder is %s, because %s", path, "; ".join(faults))
        return RayFolder(path, _spill(parent), temporary=True)
    raise RunError(
        f"Ray cannot start, because it has no folder for its sockets and logs: {'; '.join(faults)}. Free some space, or"
        " set TMPDIR to a short path on a disk with space."
    )


def _candidates() -> list[Path]:
    named = [os.environ.get("TMPDIR"), "/tmp", "/var/tmp"]
    return [Path(name).absolute() for name in dict.fromkeys(filter(None, named))]


def _fault(path: Path) -> str:
    """Why Ray cannot use `path`, which need not exist yet; empty if it can."""
    parent = next(folder for folder in path.parents if folder.exists())
    if not str(path).isascii():
        return f"the path of {path.parent} has characters other than ASCII"
    excess = len(f"{path}{_SOCKET}") - _LONGEST_SOCKET
    if excess > 0:
        return f"the path of {path.parent} is {excess} characters too long for a socket"
    try:
        tempfile.TemporaryFile(dir=parent).close()
        free = shutil.disk_usage(parent).free
    except OSError as error:
        return f"{parent} cannot be written: {error.strerror}"
    return f"{parent} has only {units.size(free)} left" if free < _FREE_BYTES else ""


def _spill(parent: Path) -> Path | None:
    """TMPDIR if Ray's folder is elsewhere only because the path of TMPDIR is too long."""
    wanted = Path(os.environ.get("TMPDIR") or parent).absolute()
    usable = wanted != parent and wanted.is_dir() and str(wanted).isascii() and not _is_full(wanted)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=wanted)) if usable else None


def _is_full(folder: Path) -> bool:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return True
    return shutil.disk_usage(folder).free < _FREE_BYTES


def _remove_old(parent: Path) -> None:
    """Remove folders of this user's runs that ended days ago."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > _KEPT_S and _is_unused(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_unused(folder: Path) -> bool:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _remove(path: Path, keep_logs: bool) -> None:
    if not keep_logs:
        shutil.rmtree(path, ignore_errors=True)
        return
    for entry in path.glob("session_*/*"):
        if entry.name != "logs" and not entry.parent.is_symlink():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
