"""Writes and deletes objects. A written object appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count, takewhile
from pathlib import Path, PurePath

from pipeline.errors import (
    AlreadyExistsError,
    BadUriError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from pipeline.scratch.folder import ScratchFolder
from pipeline.storage.backends.open import backend_for
from pipeline.storage.backends.s3_session import s3_environment
from pipeline.storage.backends.staged import remove_abandoned as remove_staged
from pipeline.storage.client_errors import already_exists, translated
from pipeline.storage.listing import exists, stat
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.reading import read_bytes
from pipeline.storage.uris import is_local, join, name, normalise, parent, printable, scheme, split_bucket


def create(uri: str, data: bytes, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Write `data` under a free name, with one request.

    A store without conditional writes is asked whether the name exists, then overwritten: two racing writers may both
    succeed there, and the later file stays, whole.

    Raises:
        AlreadyExistsError: the name is taken.
        StorageError: the store refused or is unreachable.
    """
    uri = normalise(uri)
    if is_local(uri) or supports_create(parent(uri), policy):
        _create_once(uri, data, policy)
    elif exists(uri, policy):
        raise already_exists(uri)
    else:
        overwrite(uri, data, policy)


def _create_once(uri: str, data: bytes, policy: ReadPolicy) -> None:
    attempts = 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        try:
            _put(uri, data, True, policy)
        except AlreadyExistsError:
            if not _is_own(uri, data, attempts > 1, policy):
                raise

    try:
        with_retries(attempt, policy)
    except NotImplementedError:
        if exists(uri, policy):
            raise already_exists(uri) from None
        overwrite(uri, data, policy)


def _is_own(uri: str, data: bytes, repeated: bool, policy: ReadPolicy) -> bool:
    """Whether an object that a store refused to create is the one that an earlier attempt created.

    The store's word is not enough that the name is taken: it also refuses while another write is under way, which may
    fail. So the object is looked at. An earlier attempt may have succeeded although its answer was lost: then the
    object has these very bytes.

    Raises:
        UnavailableError: there is no object, or it cannot be read, so creating it again is the only way to find out.
    """
    once = replace(policy, retry_timeout_s=0)
    try:
        if repeated:
            return read_bytes(uri, policy=once) == data
        stat(uri, once)
    except StorageError as error:
        seen = "it is not there." if isinstance(error, NotFoundError) else f"it cannot be read. {error}"
        message = f"{printable(uri)} was not created: the store answers that it exists, but {seen}"
        raise UnavailableError(f"{message} Run the same command again.", uri) from error
    return False


def overwrite(uri: str, data: bytes, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Write or replace an object; a reader sees the old or the new one, never a part."""
    uri = normalise(uri)
    with_retries(lambda: _put(uri, data, False, policy), policy)


def upload(uri: str, file: Path, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Write or replace an object with a local file; a reader sees the old or the new one, never a part."""
    uri = normalise(uri)

    def attempt() -> None:
        with translated(uri):
            backend_for(uri).upload(uri, file)

    with_retries(attempt, policy)


@contextmanager
def staged_file(uri: str) -> Iterator[Path]:
    """The local path of a new file with the suffix of `uri`, uploaded there when the block ends without an error.

    A file of any size needs no memory, and a writer that is killed leaves at `uri` what was there before.
    """
    with ScratchFolder() as folder:
        path = folder / f"staged{PurePath(name(uri)).suffix}"
        yield path
        upload(uri, path)


def delete(uri: str, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Delete one object; no error if it does not exist."""
    uri = normalise(uri)

    def attempt() -> None:
        with translated(uri):
            backend_for(uri).delete(uri)

    with_retries(attempt, policy)


def delete_numbered(uri_of: Callable[[int], str], first: int) -> None:
    """Delete the objects `uri_of(first)`, `uri_of(first + 1)` and so on, which an earlier, larger result left.

    The last one is deleted first: an interrupted deletion leaves no gap at which the next one would stop.
    """
    stale = list(takewhile(exists, map(uri_of, count(first))))
    for uri in reversed(stale):
        delete(uri)


def remove_abandoned(uri: str) -> None:
    """Remove what killed writers left in the folder `uri` and below: hidden files on a local disk.

    In other stores an object appears with the last request; what was uploaded of it before is removed by the store's
    lifecycle rules.
    """
    uri = normalise(uri)
    if is_local(uri):
        remove_staged(uri)


def check_writable(uri: str, probe: bool = True) -> None:
    """Refuse an output folder that cannot be written, before any work starts.

    Args:
        uri: the folder; it need not exist.
        probe: in a store other than a local disk, write a test object and delete it.

    Raises:
        ConfigError: it cannot be written; the message has the reason.
        StorageError: the store does not answer.
    """
    uri = normalise(uri)
    if is_local(uri):
        if why := _unwritable(uri):
            raise ConfigError(f"The output folder {uri} cannot be written: {why}. Make it writable, or choose another.")
    elif probe:
        try:
            supports_create(uri)
        except (ForbiddenError, NotFoundError, BadUriError) as error:
            raise ConfigError(f"The output folder {printable(uri)} cannot be written. {error}") from error


def check_file(uri: str) -> None:
    """Refuse a file that a user wants written, before any work starts, if there is no folder for it.

    A missing folder is not made: most often its name is mistyped. A bucket has no folders.

    Raises:
        ConfigError: the folder does not exist or cannot be written, or a folder has the file's name.
    """
    path = normalise(uri)
    if not is_local(path):
        return
    folder = parent(path)
    if uri.endswith("/") or os.path.isdir(path):
        raise ConfigError(f"{printable(uri)} is a folder: name a file in it.")
    if not os.path.isdir(folder):
        raise ConfigError(f"There is no folder {printable(folder)} for {name(path)}: make it, or correct the path.")
    if why := _unwritable(folder):
        raise ConfigError(f"{printable(path)} cannot be written: {why}. Make the folder writable, or choose another.")


def _unwritable(path: str) -> str:
    """Why a local folder cannot be written, by its permissions; empty if it can."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        return f"{path} is not a folder"
    if os.access(path, os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    return f"{path} is on a read-only file system" if read_only else f"there is no permission to write in {path}"


def supports_create(base_uri: str, policy: ReadPolicy = DEFAULT_POLICY) -> bool:
    """Whether the store honours create-only writes; tested once per bucket and process, under `base_uri`.

    Raises:
        StorageError: the store cannot be written there.
    """
    base_uri = normalise(base_uri)
    bucket = base_uri if is_local(base_uri) else f"{scheme(base_uri)}://{split_bucket(base_uri)[0]}"
    store = (bucket, *s3_environment())
    if store not in _HONOURS_CREATE:
        _HONOURS_CREATE[store] = _probe(join(base_uri, f"_probe-{uuid.uuid4().hex}"), policy)
    return _HONOURS_CREATE[store]


_HONOURS_CREATE: dict[tuple[str | None, ...], bool] = {}


def _probe(uri: str, policy: ReadPolicy) -> bool:
    """Create one name twice: the second must fail."""
    try:
        _create_once(uri, b"1", policy)
        with_retries(partial(_put, uri, b"2", True, policy), policy)
    except AlreadyExistsError:
        return True
    except NotImplementedError:
        return False
    finally:
        with suppress(ForbiddenError):
            delete(uri, policy)
    return False


def _put(uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
    with translated(uri):
        backend_for(uri).put(uri, data, create, policy)
