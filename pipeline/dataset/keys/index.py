"""Finds files of a dataset in the index of keys.

In: the files that a listing shows now. Out: what their footers state, and which rows of which block are theirs. The
index only saves reading: a file counts because it is listed, and the index is used for exactly the version that is
listed. Everything else is read from the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.dataset.keys.block import KeyBlock, list_blocks, read_blocks
from pipeline.dataset.keys.bounds import has_between
from pipeline.dataset.keys.facts import FileVersion, listed_files, shard_facts
from pipeline.dataset.layout import DataFile
from pipeline.dataset.shard_file import ShardFacts, read_footers

#: Fewer files are read themselves: that takes less than to look for the index.
FEW_FILES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Covered:
    """A block and those of its files that are wanted: their numbers in the block, and in the list of wanted files."""

    block: KeyBlock
    files: npt.NDArray[np.int64]
    wanted: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows of the wanted files."""
        return int((self.block.starts[self.files + 1] - self.block.starts[self.files]).sum())

    def between(self, first: str, last: str) -> Covered:
        """Without the files that have no id between these two."""
        facts = self.block.facts.select(["first_id", "last_id"]).take(self.files)
        kept = pc.and_(pc.less_equal(facts["first_id"], last), pc.greater_equal(facts["last_id"], first))
        return self._those(kept.fill_null(False).to_numpy())

    def around(self, ids: Sequence[str]) -> Covered:
        """Without the files that can have none of these ids, which are sorted."""
        facts = self.block.facts.select(["first_id", "last_id"]).take(self.files)
        bounds = zip(facts["first_id"].to_pylist(), facts["last_id"].to_pylist(), strict=True)
        return self._those(np.array([has_between(ids, *each) for each in bounds], bool))

    def _those(self, mask: npt.NDArray[np.bool_]) -> Covered:
        return Covered(self.block, self.files[mask], self.wanted[mask])


class KeyIndex:
    """The blocks of a dataset's index."""

    def __init__(self, blocks: Sequence[KeyBlock]) -> None:
        self._blocks = blocks
        self._at: Mapping[FileVersion, tuple[int, int]] | None = None

    @classmethod
    def open(cls, out: str, files: int) -> KeyIndex:
        """The index of the dataset at `out`; without blocks if only a few `files` are looked for."""
        return cls(read_blocks(list_blocks(out)) if files >= FEW_FILES else [])

    def cover(self, files: Sequence[FileVersion]) -> tuple[list[Covered], list[int]]:
        """The blocks that have some of the files, each file in one of them; and the numbers of the other files."""
        found: dict[int, list[tuple[int, int]]] = {}
        rest: list[int] = []
        for number, file in enumerate(files):
            at = self._place(file)
            if at is None:
                rest.append(number)
            else:
                found.setdefault(at[0], []).append((at[1], number))
        covered = []
        for block, pairs in sorted(found.items()):
            of_block, wanted = np.array(sorted(pairs), np.int64).T
            covered.append(Covered(self._blocks[block], of_block, wanted))
        return covered, rest

    def _place(self, file: FileVersion) -> tuple[int, int] | None:
        if self._at is None:
            # Of two blocks with the same file, which two runs that ended at once leave, the first is used.
            self._at = {
                version: (block, row)
                for block in reversed(range(len(self._blocks)))
                for row, version in enumerate(listed_files(self._blocks[block].facts))
            }
        return self._at.get(file)


def read_facts(out: str, files: Iterable[DataFile]) -> list[ShardFacts]:
    """What the footers of embeddings files of the dataset at `out` state, in order.

    Raises:
        StorageError, RunError: a footer that the index lacks cannot be read.
    """
    files = list(files)
    covered, rest = KeyIndex.open(out, len(files)).cover([FileVersion.of(file, out) for file in files])
    found: dict[int, ShardFacts] = dict(zip(rest, read_footers([files[number] for number in rest]), strict=True))
    for of in covered:
        found.update(zip(of.wanted.tolist(), shard_facts(of.block.facts.take(of.files)), strict=True))
    return [found[number] for number in range(len(files))]
