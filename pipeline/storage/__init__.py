"""Open, list, read many, write whole: one set of functions for local paths and every fsspec URL.

Addresses are local paths or URLs; bytes and `ObjectInfo` come out, `pipeline.errors.StorageError` is all they raise.
s3, gs and az go through obstore, http(s) through aiohttp, local files through system calls, the rest through fsspec.
Clients are loaded when an address first needs them.
"""

from pipeline.storage.backends.contract import ObjectInfo
from pipeline.storage.backends.open import arrow_filesystem
from pipeline.storage.border import translated
from pipeline.storage.listing import exists, expand, find_local, fixed_folder, list_objects, stat
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy
from pipeline.storage.reading import in_threads, read_bytes, read_many, read_range, read_spans
from pipeline.storage.seekable import open_seekable
from pipeline.storage.uris import is_bucket, is_local, join, name, normalise, parent, printable, relative, scheme
from pipeline.storage.writing import check_writable, create, delete, overwrite, supports_create, upload

__all__ = [
    "DEFAULT_POLICY",
    "ObjectInfo",
    "ReadPolicy",
    "arrow_filesystem",
    "check_writable",
    "create",
    "delete",
    "exists",
    "expand",
    "find_local",
    "fixed_folder",
    "in_threads",
    "is_bucket",
    "is_local",
    "join",
    "list_objects",
    "name",
    "normalise",
    "open_seekable",
    "overwrite",
    "parent",
    "printable",
    "read_bytes",
    "read_many",
    "read_range",
    "read_spans",
    "relative",
    "scheme",
    "stat",
    "supports_create",
    "translated",
    "upload",
]
