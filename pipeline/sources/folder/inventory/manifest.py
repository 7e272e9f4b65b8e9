"""Reads and checks the manifest of an S3 Inventory: which files it has, with which columns, and how old it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from pipeline import storage
from pipeline.errors import SourceError
from pipeline.validation import validated

_NAME = "manifest.json"
_FORMATS = ("CSV", "Parquet")
#: Python's times end before it.
_YEAR_10000_MS = 253_402_300_800_000
#: Without one of them a record would be planned with another fingerprint or size than a listing gives it.
_NEEDED = {"key": "Key", "size": "Size", "etag": "ETag"}
_PARQUET_COLUMN = re.compile(r"(?:required|optional)\s+\w+\s+(\w+)")


class _File(BaseModel):
    key: str
    md5: str = Field(alias="MD5checksum")


class _Tree(BaseModel):
    bucket: str = Field(alias="sourceBucket")
    created_ms: int = Field(alias="creationTimestamp", ge=0, lt=_YEAR_10000_MS)
    format: str = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    files: list[_File]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One inventory.

    Attributes:
        uri: its manifest.
        bucket: the bucket that it lists.
        created: when it was begun.
        format: CSV or Parquet.
        columns: the columns of its files in order, as their files call them, by their lower-case names without `_`.
        files: address and MD5 of each file.
    """

    uri: str
    bucket: str
    created: datetime
    format: str
    columns: Mapping[str, str]
    files: tuple[tuple[str, str], ...]

    @property
    def age(self) -> str:
        """A sentence for the user."""
        hours = (datetime.now(UTC) - self.created).total_seconds() / 3600
        return (
            f"The listing is the S3 Inventory of {self.created:%Y-%m-%d %H:%M} UTC, {hours:,.0f} h old "
            f"({self.uri}): what changed since then is not in it."
        )


def read_manifest(address: str) -> Manifest:
    """The manifest at `address`, or the newest below it if that is a folder.

    Raises:
        SourceError: there is none, it is damaged, or it lacks what a listing has.
        StorageError: it cannot be read.
    """
    uri = address if storage.name(address) == _NAME else _newest(address)
    try:
        plain = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise SourceError(f"{uri} is no JSON: name the {_NAME} of an S3 Inventory.") from error
    cure = f"Name the {_NAME} of an S3 Inventory."
    tree = validated(_Tree, plain, f"{uri} is no manifest of an S3 Inventory", cure=cure, error=SourceError)
    if tree.format not in _FORMATS:
        raise SourceError(f"{uri} has files in {tree.format}: configure the inventory with {' or '.join(_FORMATS)}.")
    names = _PARQUET_COLUMN.findall(tree.columns) if tree.format == "Parquet" else tree.columns.split(",")
    columns = {name.strip().replace("_", "").lower(): name.strip() for name in names}
    _check_columns(columns, uri)
    files = tuple((_place(uri, file.key), file.md5) for file in tree.files)
    return Manifest(uri, tree.bucket, datetime.fromtimestamp(tree.created_ms / 1000, UTC), tree.format, columns, files)


def _newest(folder: str) -> str:
    """Inventories are in folders that are called by their time."""
    found = [info.uri for info in storage.list_objects(folder) if info.uri.endswith(f"/{_NAME}")]
    if not found:
        raise SourceError(f"There is no {_NAME} below {folder}: name the folder of an S3 Inventory, or its {_NAME}.")
    return max(found)


def _check_columns(columns: Mapping[str, str], uri: str) -> None:
    needed = dict(_NEEDED)
    if "versionid" in columns:
        needed |= {"islatest": "IsLatest", "isdeletemarker": "IsDeleteMarker"}
    missing = [name for column, name in needed.items() if column not in columns]
    if missing:
        raise SourceError(
            f"{uri} has no {' and no '.join(missing)}, so that its records would differ from those of a listing, and "
            "all would be embedded again. Add these fields to the inventory's configuration, or list the bucket."
        )


def _place(manifest: str, key: str) -> str:
    """A file's address: in the manifest's bucket; of a copy elsewhere, in the folder `data` beside the manifest's."""
    if storage.is_bucket(manifest):
        return f"{storage.scheme(manifest)}://{storage.split_bucket(manifest)[0]}/{key}"
    return storage.join(storage.parent(storage.parent(manifest)), "data", storage.name(key))
