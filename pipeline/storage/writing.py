"""Objects that appear whole or not at all."""

from __future__ import annotations

import uuid
from contextlib import suppress
from functools import partial

from pipeline.errors import AlreadyExistsError, ForbiddenError
from pipeline.storage.backend import backend_for
from pipeline.storage.border import translated
from pipeline.storage.listing import exists
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.reading import read_bytes
from pipeline.storage.s3_session import s3_environment
from pipeline.storage.uris import is_local, join, normalise, parent, scheme, split_bucket


def create(uri: str, data: bytes, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Write `data` under a free name, with one request.

    On a store without conditional writes the name is looked up first and then overwritten: two writers that race may
    both succeed there, and the later one's file stays, whole.

    Raises:
        AlreadyExistsError: the name is taken.
        StorageError: refused or not to be reached.
    """
    uri = normalise(uri)
    if is_local(uri) or supports_create(parent(uri)):
        _create_once(uri, data, policy)
    elif exists(uri, policy):
        raise AlreadyExistsError(f"{uri} exists already: another writer came first. Nothing to do.", uri)
    else:
        overwrite(uri, data, policy)


def _create_once(uri: str, data: bytes, policy: ReadPolicy) -> None:
    tries = 0

    def attempt() -> None:
        nonlocal tries
        tries += 1
        try:
            _put(uri, data, True, policy)
        except AlreadyExistsError:
            # An earlier try may have been stored and only its answer lost: then the name holds these very bytes.
            if tries == 1 or read_bytes(uri, policy=policy) != data:
                raise

    try:
        with_retries(attempt, policy)
    except NotImplementedError:
        if exists(uri, policy):
            raise AlreadyExistsError(f"{uri} exists already: another writer came first. Nothing to do.", uri) from None
        overwrite(uri, data, policy)


def overwrite(uri: str, data: bytes, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Write `data`, replacing what was there; a reader sees the old or the new object, never a part."""
    uri = normalise(uri)
    with_retries(lambda: _put(uri, data, False, policy), policy)


def delete(uri: str, policy: ReadPolicy = DEFAULT_POLICY) -> None:
    """Remove one object; no error when it is gone."""
    uri = normalise(uri)

    def attempt() -> None:
        with translated(uri):
            backend_for(uri).delete(uri)

    with_retries(attempt, policy)


def supports_create(base_uri: str) -> bool:
    """Whether the store keeps create-only writes; tried once per bucket and process, under `base_uri`.

    Raises:
        StorageError: nothing can be written there.
    """
    base_uri = normalise(base_uri)
    bucket = base_uri if is_local(base_uri) else f"{scheme(base_uri)}://{split_bucket(base_uri)[0]}"
    store = (bucket, *s3_environment())
    if store not in _KEEPS_CREATE:
        _KEEPS_CREATE[store] = _probe(join(base_uri, f"_probe-{uuid.uuid4().hex}"))
    return _KEEPS_CREATE[store]


_KEEPS_CREATE: dict[tuple[str | None, ...], bool] = {}


def _probe(uri: str) -> bool:
    """Create one name twice: the second must fail."""
    try:
        for data in (b"1", b"2"):
            with_retries(partial(_put, uri, data, True, DEFAULT_POLICY), DEFAULT_POLICY)
    except AlreadyExistsError:
        return True
    except NotImplementedError:
        return False
    finally:
        with suppress(ForbiddenError):
            delete(uri)
    return False


def _put(uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
    with translated(uri):
        backend_for(uri).put(uri, data, create, policy)
