"""One block of the index: what is known of some files, and the keys of their rows.

    OUT/_keys/<rows>-<time>-<digest>.files.parquet   one row of `facts.FACTS` per file, named by its content's digest
    OUT/_keys/<time>-<token>.keys.parquet            the keys of their rows, in the same order; the former names it

A block never changes. The file of facts is created last, so a block is there with all its keys or not at all. Pages of
keys have checksums.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.footer import decode_footer
from pipeline.errors import StorageError

logger = logging.getLogger(__name__)

FORMAT = 1
#: The key of a row; `attempts` of a quarantined record, else null; `file` is the number of its file in the block.
KEYS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source_fingerprint", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("file", pa.int32(), nullable=False),
    ]
)
TIME = "%Y%m%dT%H%M%S"
_NAME = re.compile(r"/(?:(\d+)-)?(\d{8}T\d{6})-([0-9a-f]+)\.(files|keys)\.parquet$")
_GROUPS_AT_ONCE = 4
_BUFFER_BYTES = 4 * 2**20


class DamagedBlockError(Exception):
    """A block cannot be read: it was deleted, damaged, or is of another format."""

    def __init__(self, uri: str, cause: object) -> None:
        super().__init__(f"{uri} cannot be used ({cause})")
        self.uri = uri


@dataclass(frozen=True, eq=False)
class KeyBlock:
    """A block with its facts in memory.

    Attributes:
        uri: of its facts.
        keys_uri: of its keys.
        facts: rows of `facts.FACTS`.
        starts: number of the first row of each file among all rows, and the number of rows.
        replaces: names of the objects of blocks that it was merged from.
    """

    uri: str
    keys_uri: str
    facts: pa.Table
    starts: npt.NDArray[np.int64]
    replaces: frozenset[str]

    @property
    def uris(self) -> tuple[str, str]:
        """Its objects."""
        return self.uri, self.keys_uri

    @property
    def rows(self) -> int:
        """Rows of all its files."""
        return int(self.starts[-1])

    def tables(self) -> Iterator[pa.Table]:
        """All its rows in order, as tables of `KEYS`. Raises DamagedBlockError."""
        try:
            with storage.open_seekable(self.keys_uri) as source:
                metadata = pq.read_metadata(source)
            if metadata.num_rows != self.rows:
                raise DamagedBlockError(self.uri, f"{metadata.num_rows} keys in place of {self.rows}")
            groups = range(metadata.num_row_groups)
            for first in groups[::_GROUPS_AT_ONCE]:
                some = groups[first : first + _GROUPS_AT_ONCE]
                yield from storage.in_threads(lambda group: self._group(metadata, group), some, _GROUPS_AT_ONCE)
        except (StorageError, pa.ArrowException, OSError) as error:
            raise DamagedBlockError(self.uri, error) from error

    def _group(self, metadata: pq.FileMetaData, group: int) -> pa.Table:
        with storage.open_seekable(self.keys_uri, buffer_bytes=_BUFFER_BYTES) as source:
            file = pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True)
            return file.read_row_group(group).cast(KEYS)


def list_blocks(out: str) -> list[storage.ObjectInfo]:
    """The objects of all blocks, facts and keys."""
    return layout.objects(out, layout.KEYS)


def written_at(uri: str) -> datetime | None:
    """When an object of a block was written, by the clock of that machine; None for any other object."""
    match = _NAME.search(uri)
    return datetime.strptime(match[2], TIME).replace(tzinfo=UTC) if match else None


def read_blocks(infos: Sequence[storage.ObjectInfo]) -> list[KeyBlock]:
    """The blocks that can be used, largest first, without those that others were merged from."""
    found = [(match, info.uri) for info in infos if (match := _NAME.search(info.uri)) and match[4] == "files"]
    blocks: list[KeyBlock] = []
    replaced = set[str]()
    # The newest first: it names those that need not be read.
    for _, _, uri in sorted(((match[2], int(match[1] or 0), uri) for match, uri in found), reverse=True):
        if storage.name(uri) in replaced:
            continue
        try:
            blocks.append(_read(uri))
        except DamagedBlockError as error:
            logger.info("%s: the files that it was of are read instead.", error)
        else:
            replaced |= blocks[-1].replaces
    blocks.sort(key=lambda block: (-block.rows, block.uri))
    return [block for block in blocks if storage.name(block.uri) not in replaced]


@lru_cache(256)
def _read(uri: str) -> KeyBlock:
    """A block, cached, since it never changes. Raises DamagedBlockError."""
    try:
        content = storage.read_bytes(uri)
        match = _NAME.search(uri)
        if match is None or not hashlib.sha256(content).hexdigest().startswith(match[3]):
            raise DamagedBlockError(uri, "its content is not as written")
        facts = pq.read_table(pa.BufferReader(content))
        about = json.loads(decode_footer(facts.schema.metadata)["block"])
        if about["format"] != FORMAT:
            raise DamagedBlockError(uri, f"format {about['format']}")
        return KeyBlock(
            uri=uri,
            keys_uri=storage.join(storage.parent(uri), about["keys"]),
            facts=facts,
            starts=np.concatenate([[0], np.cumsum(facts["rows"].to_numpy())]).astype(np.int64),
            replaces=frozenset(about["replaces"]),
        )
    except (StorageError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        raise DamagedBlockError(uri, error) from error
