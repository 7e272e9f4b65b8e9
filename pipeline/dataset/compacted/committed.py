"""Lists the files of a dataset that count, also while a compaction replaces some of them.

In: the address of a dataset. Out: `Committed`. This is the only place where the embeddings folder is listed for its
rows. The folder is listed first, the newest entry of the log is read after that: a new file that was listed is named in
an entry that was there before it. If the entry names a file that was not listed yet, its switch happened during the
listing, so all is listed again. Nothing here depends on a clock or on how long replaced files stay.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.dataset import layout
from pipeline.dataset.compacted.log import compactions
from pipeline.dataset.layout import EMBEDDINGS, DataFile

#: How long a writer may use a list of replaced shards. Their files stay much longer, and then refuse it themselves.
_RECENT_S = 300.0


@dataclass(frozen=True, slots=True)
class Committed:
    """The committed shards of a dataset at one moment.

    Attributes:
        files: embeddings files that count, each shard once, sorted by date.
        replaced: ids of shards that were committed, and whose rows other files hold now.
        reserved: ids of shards that do not count, whether or not they were ever committed.
        missing: ids of shards that a compaction wrote, and that somebody deleted.
        entry: number of the newest entry of the log of compactions; -1 if there was none.
        lossy: whether rows of replaced shards may be gone, since they were superseded or their file was deleted.
    """

    files: list[DataFile]
    replaced: frozenset[str]
    reserved: frozenset[str]
    missing: frozenset[str]
    entry: int
    lossy: bool

    @property
    def present(self) -> frozenset[str]:
        """Ids of the shards in `files`."""
        return frozenset(file.shard_id for file in self.files)

    @property
    def ever(self) -> frozenset[str]:
        """Ids of the shards that are or were committed: no plan waits for them, and no writer commits them again."""
        return self.present | self.replaced

    @property
    def settled(self) -> frozenset[str]:
        """Ids of the shards all of whose records still have their outcomes, so that a plan can skip them by name."""
        return self.present if self.lossy else self.ever


def list_committed(out: str) -> Committed:
    """The committed shards of the dataset at `out`. Raises StorageError, RunError."""
    before = -2
    while True:
        found = _list(out)
        if not found.missing or found.entry == before:
            _REPLACED[out] = time.monotonic(), found.replaced
            return found
        before = found.entry


def _list(out: str) -> Committed:
    once: dict[str, DataFile] = {}
    for file in layout.data_files(out, EMBEDDINGS):
        once.setdefault(file.shard_id, file)
    number, entry = compactions(out).newest()
    if entry is None:
        return Committed(list(once.values()), frozenset(), frozenset(), frozenset(), number, False)
    hidden = frozenset(entry.hidden)
    missing = frozenset(entry.added) - once.keys()
    files = [file for file in once.values() if file.shard_id not in hidden]
    return Committed(files, entry.replaced, hidden, missing, number, entry.lossy or bool(missing))


def is_replaced(out: str, shard_id: str, recent: bool = False) -> bool:
    """Whether a shard was committed and replaced; with `recent`, as known in this process for the last minutes."""
    at, replaced = _REPLACED.get(out, (0.0, frozenset()))
    if not recent or out not in _REPLACED or time.monotonic() - at > _RECENT_S:
        _, entry = compactions(out).newest()
        at, replaced = time.monotonic(), entry.replaced if entry else frozenset()
        _REPLACED[out] = at, replaced
    return shard_id in replaced


_REPLACED: dict[str, tuple[float, frozenset[str]]] = {}
