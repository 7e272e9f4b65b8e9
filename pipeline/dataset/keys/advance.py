"""Brings the index of keys up to date with a dataset, at a cost that follows what came since.

In: a dataset. Out: a block for the files that no block has. Blocks that are no larger are merged into it, so each merge
at least doubles the block that a key is in: the number of blocks grows with the logarithm of the rows, and so does how
often a key is written. Small blocks are always merged, large ones never, so that no run pays for all of history.

Several runs may do this at once: blocks never change, and of two that have the same file one is used and the other one
is removed later. A block that was merged stays for an hour, for those who are reading it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.keys.block import DamagedBlockError, KeyBlock, list_blocks, read_blocks, written_at
from pipeline.dataset.keys.facts import FileVersion, facts_row
from pipeline.dataset.keys.index import FEW_FILES, Covered, KeyIndex
from pipeline.dataset.keys.reading import read_file
from pipeline.dataset.keys.writing import KeyBlockWriter
from pipeline.dataset.layout import DataFile
from pipeline.dataset.shard_file import read_footer
from pipeline.scratch.folder import ScratchFolder
from pipeline.scratch.workspace import scratch_errors

logger = logging.getLogger(__name__)

_SMALL_ROWS, _LARGE_ROWS = 2**16, 2**24
_FILES_AT_ONCE = 16
_KEPT = timedelta(hours=1)


def advance(out: str, shards: Sequence[DataFile], quarantine: Sequence[DataFile]) -> None:
    """Add what the index of the dataset at `out` lacks, and remove what it does not need any more.

    Args:
        out: the dataset.
        shards: its embeddings files.
        quarantine: the quarantine files that these name.

    Raises:
        StorageError, RunError: a file cannot be read, or the index cannot be written.
    """
    embeddings = {FileVersion.of(file, out): file for file in shards}
    others: list[DataFile | storage.ObjectInfo] = [*quarantine, *layout.tombstones(out).values()]
    files = [*embeddings, *(FileVersion.of(file, out) for file in others)]
    if len(files) < FEW_FILES:
        return
    found = list_blocks(out)
    present = frozenset(storage.name(info.uri) for info in found)
    blocks = read_blocks(found)
    while True:
        covered, rest = KeyIndex(blocks).cover(files)
        try:
            with ScratchFolder() as folder, scratch_errors(folder):
                _Extension(out, folder, embeddings, present).write([files[number] for number in rest], covered)
            break
        except DamagedBlockError as error:
            logger.info("%s: it is made again.", error)
            blocks = [block for block in blocks if block.uri != error.uri]
    _clean(found, blocks, [of.block for of in covered])


class _Extension:
    """Writes what an index lacks.

    Args:
        out: URI of the dataset.
        folder: a local folder.
        embeddings: the embeddings files of the dataset.
        present: names of the objects of the index.
    """

    def __init__(
        self, out: str, folder: Path, embeddings: dict[FileVersion, DataFile], present: frozenset[str]
    ) -> None:
        self._out, self._folder, self._embeddings, self._present = out, folder, embeddings, present

    def write(self, new: Sequence[FileVersion], covered: Sequence[Covered]) -> None:
        """Write blocks of the new files, and of the blocks that are merged with them. Raises DamagedBlockError."""
        writer = KeyBlockWriter(self._folder)
        for first in range(0, len(new), _FILES_AT_ONCE):
            for facts, keys in storage.in_threads(self._read, new[first : first + _FILES_AT_ONCE], _FILES_AT_ONCE):
                writer.add_file(facts, keys)
            if writer.rows >= _LARGE_ROWS:
                writer.finish(self._out, self._present)
                writer = KeyBlockWriter(self._folder)
        merged = _merged(covered, writer.rows) if new else _mostly_unwanted(covered)
        for of in merged:
            writer.add_block(of)
        writer.finish(self._out, self._present)

    def _read(self, file: FileVersion) -> tuple[pa.Table, pa.Table]:
        keys = read_file(self._out, file)
        facts = read_footer(self._embeddings[file]) if file in self._embeddings else None
        return facts_row(file, keys["id"], facts), keys


def _merged(covered: Iterable[Covered], rows: int) -> list[Covered]:
    """The blocks that a new one of so many rows is merged with."""
    merged = _mostly_unwanted(covered)
    rows += sum(of.rows for of in merged)
    for of in sorted(covered, key=lambda of: of.rows):
        if of not in merged and of.rows <= max(rows, _SMALL_ROWS) and rows + of.rows <= _LARGE_ROWS:
            merged.append(of)
            rows += of.rows
    return merged


def _mostly_unwanted(covered: Iterable[Covered]) -> list[Covered]:
    return [of for of in covered if 2 * of.rows < of.block.rows]


def _clean(found: Iterable[storage.ObjectInfo], blocks: Sequence[KeyBlock], used: Iterable[KeyBlock]) -> None:
    """Delete the objects of blocks that were of no use for an hour, of which `blocks` can be read."""
    needed = {uri for block in used for uri in block.uris}
    replaced_at = {name: written_at(block.uri) for block in blocks for name in block.replaces}
    for info in found:
        since = replaced_at.get(storage.name(info.uri), written_at(info.uri))
        if info.uri not in needed and (since is None or datetime.now(UTC) - since > _KEPT):
            storage.delete(info.uri)
