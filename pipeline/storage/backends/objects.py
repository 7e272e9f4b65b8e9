"""S3, Google Cloud Storage and Azure Blob Storage, through obstore.

One client per bucket, deadline and process. obstore's own retries are off for single requests, which `with_retries`
repeats for every backend alike. On S3, `s3_requests` lists, many pages at once, and reads the keys that obstore would
change; elsewhere obstore lists, with its own retries, since a listing cannot restart without repeating entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.fsspec import FsspecStore
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from pipeline.errors import TooLargeError
from pipeline.storage.backends import s3_requests
from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.backends.fan_out import OutOfOrderError, list_in_parallel
from pipeline.storage.backends.order import is_directory_bucket, is_unsorted, unsorted
from pipeline.storage.backends.s3_session import s3_environment, s3_settings
from pipeline.storage.client_errors import HttpStatusError, status_in, too_large, translated
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.uris import scheme, split_bucket
from pipeline.vocabulary import Skip

if TYPE_CHECKING:
    import pyarrow.fs as pafs

_SLOWEST_UPLOAD_BYTES_PER_S = 2**20
#: An object has at most 10,000 parts: 320 GB.
_PART_BYTES = 32 * 2**20
#: The answers to a create-only write of a name that is taken or being taken, as far as obstore tells them apart.
_TAKEN = (
    obstore.exceptions.AlreadyExistsError,
    obstore.exceptions.PreconditionError,
    obstore.exceptions.NotModifiedError,
)
_FAMILY = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az"}


def _client(timeout_s: float) -> dict[str, Any]:
    timeout = timedelta(seconds=timeout_s)
    return {"allow_http": True, "timeout": timeout, "connect_timeout": min(timeout, timedelta(seconds=10))}


def _retry(timeout_s: float) -> dict[str, Any]:
    return {"max_retries": 1000 if timeout_s else 0, "retry_timeout": timedelta(seconds=timeout_s)}


@lru_cache(maxsize=256)
def _store(
    family: str, bucket: str, timeout_s: float, retry_timeout_s: float, environment: tuple[str | None, ...]
) -> ObjectStore:
    options: Any = {"client_options": _client(timeout_s), "retry_config": _retry(retry_timeout_s)}
    if family == "s3":
        express: Any = {"s3_express": True} if _is_express(bucket) else {}
        return S3Store(bucket, **s3_settings(environment), **express, **options)
    if family == "gs":
        return GCSStore(bucket, **options)
    return AzureStore(bucket, **options)


def _locate(uri: str, timeout_s: float, retry_timeout_s: float = 0) -> tuple[ObjectStore, str]:
    bucket, key = split_bucket(uri)
    return _store(_FAMILY[scheme(uri)], bucket, timeout_s, retry_timeout_s, s3_environment()), key


def _fingerprint(meta: Any) -> str:
    if meta["e_tag"]:
        return str(meta["e_tag"]).strip('"')
    return f"{meta['size']}-{int(meta['last_modified'].timestamp() * 1e6)}"


def _is_express(bucket: str) -> bool:
    """Whether a bucket is one of AWS's own directory buckets, which have endpoints and sessions that obstore knows."""
    return is_directory_bucket(bucket) and not s3_settings(s3_environment()).get("endpoint")


def _has_requests(uri: str) -> bool:
    """Whether requests of our own can be sent to a bucket."""
    bucket, _ = split_bucket(uri)
    return _FAMILY[scheme(uri)] == "s3" and s3_requests.is_available() and not _is_express(bucket)


def _is_odd(uri: str, key: str) -> bool:
    """Whether an object has to be requested without obstore."""
    return s3_requests.is_cleaned(key) and _has_requests(uri)


def _exact_keys(uri: str, bucket: str, key: str) -> Iterator[list[s3_requests.Entry]]:
    """Pages of everything below a key. Each is retried by itself, since a listing cannot restart without repeats."""

    def fetch(prefix: str, after: str, token: str) -> tuple[list[s3_requests.Entry], str]:
        def attempt() -> tuple[list[s3_requests.Entry], str]:
            with translated(uri):
                return s3_requests.list_page(bucket, prefix, after, token, DEFAULT_POLICY.timeout_s)

        return with_retries(attempt, DEFAULT_POLICY)

    try:
        yield from list_in_parallel(fetch, f"{key}/" if key else "", is_unsorted(uri))
    except OutOfOrderError as error:
        raise unsorted(uri) from error


def _ends_before(store: ObjectStore, key: str, start: int) -> bool:
    """Whether an object has no byte `start`; False if the store does not say."""
    try:
        return bool(obstore.head(store, key)["size"] <= start)
    except (obstore.exceptions.BaseError, OSError):
        return False


class ObjectsBackend:
    """Requests to a bucket. Calls release the interpreter lock, so threads run them in parallel."""

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """One HEAD."""
        bucket, key = split_bucket(uri)
        if not key:
            raise FileNotFoundError(uri)
        if _is_odd(uri, key):
            return ObjectInfo(uri, *s3_requests.head(bucket, key, policy.timeout_s))
        meta = obstore.head(*_locate(uri, policy.timeout_s))
        return ObjectInfo(uri, meta["size"], _fingerprint(meta))

    def walk(self, uri: str, skip: OnSkip | None) -> Iterator[ObjectInfo]:
        """Pages of a listing as they arrive, in the store's order; without the empty objects that stand for folders."""
        bucket, key = split_bucket(uri)
        root = f"{scheme(uri)}://{bucket}/"
        if not _has_requests(uri):
            store, key = _locate(uri, DEFAULT_POLICY.timeout_s, DEFAULT_POLICY.retry_timeout_s)
            for page in obstore.list(store, prefix=key or None):
                for meta in page:
                    yield ObjectInfo(root + meta["path"], meta["size"], _fingerprint(meta))
            return
        for entry in chain.from_iterable(_exact_keys(uri, bucket, key)):
            if not entry.key.endswith("/"):
                yield ObjectInfo(root + entry.key, entry.size_bytes, entry.fingerprint)
            elif skip is not None:
                skip(Skip.FOLDER_MARKER, root + entry.key)

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """One GET; the headers give the size before the body is read."""
        bucket, key = split_bucket(uri)
        if _is_odd(uri, key):
            size_bytes, _ = s3_requests.head(bucket, key, policy.timeout_s)
            if policy.max_bytes is not None and size_bytes > policy.max_bytes:
                raise TooLargeError(too_large(uri, size_bytes, policy.max_bytes), uri)
            return s3_requests.get(bucket, key, policy.timeout_s)
        store, key = _locate(uri, policy.timeout_s)
        answer = obstore.get(store, key)
        size_bytes = answer.meta["size"]
        if policy.max_bytes is not None and size_bytes > policy.max_bytes:
            raise TooLargeError(too_large(uri, size_bytes, policy.max_bytes), uri)
        return bytes(answer.bytes())

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """One ranged GET."""
        bucket, key = split_bucket(uri)
        try:
            if _is_odd(uri, key):
                return s3_requests.get(bucket, key, policy.timeout_s, f"bytes={start}-{start + length - 1}")
            store, key = _locate(uri, policy.timeout_s)
            return bytes(obstore.get_range(store, key, start=start, length=length))
        except HttpStatusError as error:
            if error.status == 416:
                return b""
            raise
        except obstore.exceptions.GenericError as error:
            if status_in(error) in (0, 416) and _ends_before(store, key, start):
                return b""
            raise

    def put(self, uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
        """One PUT, never multipart: conditions on multipart uploads are not honoured everywhere."""
        pace = len(data) // (32 * _SLOWEST_UPLOAD_BYTES_PER_S) * 32
        store, key = _locate(uri, policy.timeout_s + pace)
        try:
            obstore.put(store, key, data, mode="create" if create else "overwrite", use_multipart=False)
        except _TAKEN as error:
            if create:
                raise FileExistsError(uri) from error
            raise

    def upload(self, uri: str, file: Path) -> None:
        """Multipart, retried by the client; the object appears with the last request."""
        store, key = _locate(uri, DEFAULT_POLICY.timeout_s + _PART_BYTES // _SLOWEST_UPLOAD_BYTES_PER_S, 60)
        obstore.put(store, key, file, chunk_size=_PART_BYTES)

    def delete(self, uri: str) -> None:
        """One DELETE."""
        store, key = _locate(uri, DEFAULT_POLICY.timeout_s)
        with suppress(FileNotFoundError):
            obstore.delete(store, key)

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """Obstore's fsspec adapter, wrapped for Arrow."""
        # Keeps roles light that read and write whole objects: Arrow brings NumPy, 0.15 s of CPU together.
        import pyarrow.fs as pafs

        family = _FAMILY[scheme(uri)]
        options: Any = {
            "client_options": _client(DEFAULT_POLICY.timeout_s),
            "retry_config": _retry(DEFAULT_POLICY.retry_timeout_s),
        }
        adapter: Any = FsspecStore(family, **(s3_settings(s3_environment()) if family == "s3" else {}), **options)  # type: ignore[call-overload]
        return pafs.PyFileSystem(pafs.FSSpecHandler(adapter)), "/".join(split_bucket(uri))


OBJECTS = ObjectsBackend()
