"""API keys: a file of names and digests, and who a request comes from.

    shop:3b1f...e2        a line is NAME:SHA-256 of the key, in hex
    nightly:9c07...41:5   or with its own rate, in requests a second
    # a comment            is kept

Keys are random and long, so a plain digest cannot be reversed. The key itself is shown once, when it is made. A server
reads the file again when it changes, so a removed key ends within seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.scratch.alone import alone

#: Environment variable with lines of such a file, for keys that come from a secret store.
VARIABLE = "HANCLIP_API_KEYS"

_PREFIX = "hc_"
_NAME = re.compile(r"[\w.-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMENT = "#"
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without the key itself.

    Attributes:
        name: of its user, for logs and metrics.
        sha256: hex digest of the key.
        requests_per_s: its own rate; None: the server's.
    """

    name: str
    sha256: str
    requests_per_s: float | None = None

    def line(self) -> str:
        """The line of a file."""
        return ":".join([self.name, self.sha256, *([f"{self.requests_per_s:.15g}"] if self.requests_per_s else [])])


def digest(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_keys(text: str, origin: str) -> tuple[ApiKey, ...]:
    """The keys in lines, or in parts separated by commas. Raises ConfigError, which repeats nothing of a line."""
    lines = enumerate(text.split("\n"), 1)
    keys = tuple(_key(part, number, origin) for number, line in lines for part in _parts(line))
    return _each_once(keys, origin)


def _each_once(keys: tuple[ApiKey, ...], origin: str) -> tuple[ApiKey, ...]:
    names = [key.name for key in keys]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{origin} has two keys called {repeated}. Remove one.")
    return keys


def _parts(line: str) -> list[str]:
    """What a line says of keys, one by one."""
    if line.lstrip().startswith(_COMMENT):
        return []
    parts = [part.strip() for part in line.split(",")]
    return [part for part in parts if part and not part.startswith(_COMMENT)]


def _without(name: str, text: str) -> str:
    """The lines without the key of this name."""
    kept = []
    for line in text.split("\n"):
        parts = _parts(line)
        left = [part for part in parts if part.partition(":")[0] != name]
        if len(left) == len(parts):
            kept.append(line)
        elif left:
            kept.append(",".join(left))
    return "\n".join(kept)


def _key(line: str, number: int, origin: str) -> ApiKey:
    name, _, rest = line.partition(":")
    sha256, _, rate = rest.partition(":")
    try:
        requests_per_s = float(rate) if rate else None
    except ValueError:
        requests_per_s = 0.0
    valid_rate = requests_per_s is None or 0 < requests_per_s < float("inf")
    if not (_NAME.fullmatch(name) and _DIGEST.fullmatch(sha256) and valid_rate):
        raise ConfigError(
            f"{origin}, line {number} is not NAME:SHA256 or NAME:SHA256:RATE. Make keys with `hanclip keys add`."
        )
    return ApiKey(name, sha256, requests_per_s)


class KeyFile:
    """A file of keys, for the commands that change it.

    Replaced by one command at a time. A new one only its owner can read; of another one owner, mode and comments stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keys(self) -> tuple[ApiKey, ...]:
        """Its keys; none if there is no file. Raises ConfigError."""
        return parse_keys(self._text(), str(self._path))

    def _text(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._path} is not a text file. Name a file of `hanclip keys add`.") from error
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}. Make it a readable file.") from error

    def add(self, name: str, requests_per_s: float | None) -> str:
        """Make a key; returns it, which is the only time that it is known. Raises ConfigError."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a key: use letters, digits, '_', '-' and '.', at most 64.")
        with alone(self._path.resolve().parent):
            text, made = self._text(), _PREFIX + secrets.token_urlsafe(32)
            if any(key.name == name for key in parse_keys(text, str(self._path))):
                raise ConfigError(f"{self._path} has a key called {name}. Remove it first, or choose another name.")
            before = f"{text}\n" if text and not text.endswith("\n") else text
            self._write(f"{before}{ApiKey(name, digest(made), requests_per_s).line()}\n")
        return made

    def remove(self, name: str) -> None:
        """Remove a key. Raises ConfigError if there is none of this name."""
        with alone(self._path.resolve().parent):
            known = self.keys()
            if all(key.name != name for key in known):
                names = ", ".join(key.name for key in known) or "none"
                raise ConfigError(f"{self._path} has no key called {name}; its keys: {names}.")
            self._write(_without(name, self._text()))

    def _write(self, text: str) -> None:
        """Replace the file, or what a link leads to. Raises ConfigError."""
        path = self._path.resolve()
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                with suppress(FileNotFoundError):  # a new one
                    _make_like(path.stat(), file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}. Choose another place.") from error


def _make_like(known: os.stat_result, file: int) -> None:
    """Give `file` the mode of another one, and its group and owner as far as the system lets this user."""
    with suppress(PermissionError):
        os.fchown(file, -1, known.st_gid)
    os.fchmod(file, stat.S_IMODE(known.st_mode))
    with suppress(PermissionError):
        os.fchown(file, known.st_uid, -1)


class Keyring:
    """The keys of a server.

    Args:
        load: reads all keys.
        changed: a value that changes with what `load` reads.
        report: called with a sentence for the log when the keys cannot be read again, and the known ones stay valid;
            or when some of them are not there any more, and are refused.

    Raises:
        ConfigError: the keys cannot be read.
    """

    def __init__(
        self,
        load: Callable[[], tuple[ApiKey, ...]],
        changed: Callable[[], object] = lambda: None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._load, self._changed, self._report = load, changed, report
        self._mark, self._keys, self._looked_s = changed(), load(), time.monotonic()

    @classmethod
    def of(cls, path: Path | None, report: Callable[[str], None]) -> Keyring:
        """The keys of a file, and those in the environment."""

        def load() -> tuple[ApiKey, ...]:
            given = parse_keys(os.environ.get(VARIABLE, ""), VARIABLE)
            stored = KeyFile(path).keys() if path else ()
            return _each_once((*given, *stored), f"{path} with {VARIABLE}")

        return cls(load, lambda: _mark_of(path), report)

    def __len__(self) -> int:
        return len(self._keys)

    def owner(self, given: str) -> ApiKey | None:
        """The key that was given; None if it is unknown. Takes as long for every key, so that time tells nothing."""
        self._look()
        wanted, found = digest(given), None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, wanted):
                found = key
        return found

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        if (mark := self._changed()) != self._mark:
            self._mark = mark
            try:
                known, self._keys = self._keys, self._load()
            except ConfigError as error:
                self._report(f"The keys were not read again: {error}")
                return
            there = {key.name for key in self._keys}
            if lost := [key.name for key in known if key.name not in there]:
                left = f"{len(there):,}" if there else "none, so every request is refused"
                self._report(f"Keys that are not there any more: {', '.join(lost)}. Valid keys: {left}.")


def _mark_of(path: Path | None) -> object:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    # The time of the last change of any kind: making a file readable leaves its time of modification as it was.
    return found and (found.st_ctime_ns, found.st_ino, found.st_size)
