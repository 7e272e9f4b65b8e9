"""Reads, lists and writes objects at local paths and every fsspec URL, with one set of functions.

In: addresses. Out: bytes and `ObjectInfo`; failures of a store are `pipeline.errors.StorageError`. s3, gs and az go
through obstore, http(s) through aiohttp, local paths through system calls, everything else through fsspec. Clients are
imported when an address first needs them.

This is the only door: code outside imports from here, never from a module below.
"""

from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.backends.open import arrow_filesystem
from pipeline.storage.backends.order import in_order, is_unsorted
from pipeline.storage.claim import claim_folder, claim_or_empty, read_claim
from pipeline.storage.client_errors import translated
from pipeline.storage.health import HostHealth
from pipeline.storage.lines import json_bytes, read_tree, write_lines
from pipeline.storage.listing import (
    exists,
    expand,
    find_local,
    fixed_folder,
    has_wildcards,
    list_objects,
    listable,
    stat,
    would_have,
)
from pipeline.storage.numbered import NumberedLog
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.reading import in_threads, read_bytes, read_many, read_range, read_spans
from pipeline.storage.seekable import open_seekable
from pipeline.storage.uris import (
    is_bucket,
    is_inside,
    is_local,
    join,
    name,
    normalise,
    parent,
    printable,
    real,
    relative,
    scheme,
    split_bucket,
    storable,
    web_host,
)
from pipeline.storage.writing import (
    check_file,
    check_writable,
    create,
    delete,
    delete_numbered,
    overwrite,
    remove_abandoned,
    staged_file,
    supports_create,
    upload,
)

__all__ = [
    "DEFAULT_POLICY",
    "HostHealth",
    "NumberedLog",
    "ObjectInfo",
    "OnSkip",
    "ReadPolicy",
    "arrow_filesystem",
    "check_file",
    "check_writable",
    "claim_folder",
    "claim_or_empty",
    "create",
    "delete",
    "delete_numbered",
    "exists",
    "expand",
    "find_local",
    "fixed_folder",
    "has_wildcards",
    "in_order",
    "in_threads",
    "is_bucket",
    "is_inside",
    "is_local",
    "is_unsorted",
    "join",
    "json_bytes",
    "list_objects",
    "listable",
    "name",
    "normalise",
    "open_seekable",
    "overwrite",
    "parent",
    "printable",
    "read_bytes",
    "read_claim",
    "read_many",
    "read_range",
    "read_spans",
    "read_tree",
    "real",
    "relative",
    "remove_abandoned",
    "scheme",
    "split_bucket",
    "staged_file",
    "stat",
    "storable",
    "supports_create",
    "translated",
    "upload",
    "web_host",
    "with_retries",
    "would_have",
    "write_lines",
]
