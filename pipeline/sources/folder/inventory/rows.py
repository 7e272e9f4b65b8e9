"""Lists a folder of a bucket from an S3 Inventory: the same objects, fingerprints and order as a listing of that time.

In: a manifest and its files, in any order. Out: `ObjectInfo`s, sorted by key, of the newest versions that are no delete
markers. The files are read one after another into a scratch folder, checked against their MD5, and sorted there, so
memory is bounded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import storage
from pipeline.errors import SourceError
from pipeline.scratch.quoting import quoted, quoted_name
from pipeline.scratch.workspace import Workspace
from pipeline.sources.folder.inventory.manifest import Manifest
from pipeline.storage import ObjectInfo, OnSkip
from pipeline.vocabulary import Skip

_COPIED_BYTES = 8 * 2**20
_KEYS = "keys"


class InventoryListing:
    """The objects of an inventory, below the folders of a source. Use `opened`."""

    def __init__(self, manifest: Manifest, work: Workspace) -> None:
        self.manifest, self._work = manifest, work

    def below(self, uri: str, skip: OnSkip) -> Iterator[ObjectInfo]:
        """Every object below the folder `uri`, sorted by key; those that stand for folders go to `skip`."""
        base, prefix = _divided(uri)
        chosen = f"SELECT key, size, etag FROM {_KEYS} WHERE starts_with(key, {quoted(prefix)}) ORDER BY key"
        for batch in self._work.batches(chosen):
            for key, size_bytes, etag in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if key.endswith("/"):
                    skip(Skip.FOLDER_MARKER, base + key)
                else:
                    yield ObjectInfo(base + key, size_bytes, etag)


@contextmanager
def opened(manifest: Manifest, uris: tuple[str, ...]) -> Iterator[InventoryListing]:
    """The listing of `manifest`, limited to what is below `uris`.

    Raises:
        SourceError: it is the inventory of another bucket, an address is no folder of it, or a file is damaged.
        StorageError: a file cannot be read.
    """
    for uri in uris:
        if not storage.is_bucket(uri) or storage.has_wildcards(uri):
            raise SourceError(f"{uri} is no folder of a bucket: --inventory lists whole folders. Name the folder.")
        if storage.split_bucket(uri)[0] != manifest.bucket:
            raise SourceError(
                f"{manifest.uri} lists the bucket {manifest.bucket}, and the source is {uri}: name its own inventory."
            )
    prefixes = [_divided(uri)[1] for uri in uris]
    with Workspace() as work:
        parts = [_stored(work, manifest, place, prefixes) for place in range(len(manifest.files))]
        union = " UNION ALL ".join(f"SELECT * FROM {part}" for part in parts)
        work.execute(f"CREATE VIEW {_KEYS} AS {union or 'SELECT NULL AS key, NULL AS size, NULL AS etag WHERE false'}")
        unmarked = work.rows(f"SELECT min(key), count(*) FROM {_KEYS} WHERE coalesce(etag, '') = ''")[0]
        if unmarked[1]:
            raise SourceError(
                f"{manifest.uri} has {unmarked[1]:,} objects without an ETag, such as {unmarked[0]}: list the bucket."
            )
        yield InventoryListing(manifest, work)


def _divided(uri: str) -> tuple[str, str]:
    """`s3://bucket/` and the prefix of the keys below a folder."""
    address = storage.normalise(uri)
    bucket, key = storage.split_bucket(address)
    return f"{storage.scheme(address)}://{bucket}/", f"{key}/" if key else ""


def _stored(work: Workspace, manifest: Manifest, place: int, prefixes: list[str]) -> str:
    """Store the rows of one file that belong to the source; returns the table's name."""
    uri, md5 = manifest.files[place]
    path = work.path(f"inventory{'.parquet' if manifest.format == 'Parquet' else '.csv.gz'}")
    if _copy(uri, path) != md5.lower():
        raise SourceError(f"{uri} is not the file that {manifest.uri} names: its MD5 differs. Use another inventory.")
    below = " OR ".join(f"starts_with(key, {quoted(prefix)})" for prefix in prefixes)
    work.store(f"part{place}", f"SELECT * FROM ({_select(manifest, path)}) WHERE {below}")
    os.unlink(path)
    return f"part{place}"


def _copy(uri: str, path: str) -> str:
    """Copy an object to a local file; returns its MD5."""
    md5 = hashlib.md5(usedforsecurity=False)
    with storage.open_seekable(uri, buffer_bytes=_COPIED_BYTES) as source, open(path, "wb") as target:
        while data := source.read(_COPIED_BYTES):
            md5.update(data)
            target.write(data)
    return md5.hexdigest()


def _select(manifest: Manifest, path: str) -> str:
    """SQL for the key, size and ETag of the newest versions in a file."""
    column = {name: quoted_name(own) for name, own in manifest.columns.items()}
    if manifest.format == "Parquet":
        table, key = f"read_parquet({quoted(path)})", f"{column['key']}::VARCHAR"
    else:
        types = ", ".join(f"{quoted(own)}: 'VARCHAR'" for own in manifest.columns.values())
        table = (
            f"read_csv({quoted(path)}, columns={{{types}}}, header=false, auto_detect=false, quote='\"', escape='\"')"
        )
        key = f"url_decode(replace({column['key']}, '+', '%20'))"
    conditions = [
        f"lower({column[name]}::VARCHAR) = {quoted(wanted)}"
        for name, wanted in (("islatest", "true"), ("isdeletemarker", "false"))
        if name in column
    ]
    etag = f"trim({column['etag']}::VARCHAR, '\"')"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {key} AS key, {column['size']}::BIGINT AS size, {etag} AS etag FROM {table}{where}"
