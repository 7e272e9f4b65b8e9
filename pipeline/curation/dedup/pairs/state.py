"""What an earlier run found out about vectors, so that tonight's are compared with all and the old ones not again.

In: the vectors of a dataset's latest rows, by the digest of what they were made from (pixels, a text). Out:
where the known ones belong, and their near pairs. One Parquet file holds what belongs together and is replaced whole,
so a run that dies leaves what was there, and of two runs at once each leaves a state that is right:

    OUT/_dedup/<name>/vectors.parquet      one row a vector: its key, its cells, the earlier ones that are near
    OUT/_dedup/<name>/space-<digest>.npz   the directions of shadows, and the cells; the file above names it

A vector that is in no latest row any more is forgotten: should it come back, it is new.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.dedup.groups import Groups
from pipeline.curation.dedup.pairs.cells import Cells, Places, Small
from pipeline.curation.dedup.pairs.neighbours import Pairs
from pipeline.curation.dedup.pairs.shadows import Lamp
from pipeline.curation.dedup.rows import Mask, Numbers, Rows
from pipeline.curation.tables import read_facts, write_table
from pipeline.dataset import layout
from pipeline.dataset.footer import decode_footer
from pipeline.errors import NotFoundError
from pipeline.scratch.spool import spool

_FOLDER = "_dedup"
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("crowded", pa.bool_(), nullable=False),
        pa.field("home", pa.int32(), nullable=False),
        pa.field("visited", pa.list_(pa.int32()), nullable=False),
        pa.field("near", pa.list_(pa.int64()), nullable=False),
    ]
)
_BATCH_ROWS = 2**17


@dataclass(frozen=True, slots=True)
class Space:
    """How vectors are cut short, and where they are then."""

    lamp: Lamp
    cells: Cells


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of C vectors, which are numbered as the caller has them.

    Attributes:
        space: None when nothing is known; where the vectors belong has to be found again then.
        trained_on: how many vectors there were when the cells were made.
        count: how many vectors the state held, those that are gone included.
        places: of the vectors that are not new.
        is_new: (C,) the vectors that no earlier run compared.
        pairs: near pairs of the others.
    """

    space: Space | None
    trained_on: int
    count: int
    places: Places
    is_new: Mask
    pairs: Pairs


def state_uri(out: str, name: str) -> str:
    """Folder of one state."""
    return storage.join(out, _FOLDER, name)


def covered(out: str, name: str) -> int:
    """How many vectors the state knows."""
    facts = read_facts(storage.join(state_uri(out, name), "vectors.parquet"))
    return int(facts["count"]) if facts else 0


def read_state(uri: str, rows: Rows, key: str, first_rows: Numbers) -> Known:
    """The state at `uri`, for the vectors whose first rows are `first_rows`, by the expression `key` over the rows."""
    if not storage.exists(storage.join(uri, "vectors.parquet")):
        return _nothing(len(first_rows))
    with storage.open_seekable(storage.join(uri, "vectors.parquet")) as source:
        file = pq.ParquetFile(source)
        facts = _facts(file)  # of this very file, which another run may be replacing
        number = _numbers(file, rows, key, first_rows)
        crowded = file.read(["crowded"])["crowded"].to_numpy()
        first, second = _entries(file, "near")
        number = _forget(number, crowded, first, second)
        first, second = number[first], number[second]
        both = (first >= 0) & (second >= 0)
        is_new = np.ones(len(first_rows), bool)
        is_new[number[number >= 0]] = False
        crowd = number[crowded]
        pairs = Pairs(first[both], second[both], crowd[crowd >= 0])
        space = _read_space(uri, str(facts["space"]))
        places = _places(file, number, len(first_rows))
    return Known(space, int(facts["trained_on"]), int(facts["count"]), places, is_new, pairs)


def _facts(file: pq.ParquetFile) -> dict[str, Any]:
    facts = decode_footer(file.schema_arrow.metadata)
    return {name: json.loads(facts[name]) for name in ("space", "trained_on", "count")}


def _nothing(count: int) -> Known:
    none, few = np.empty(0, np.int64), np.empty(0, np.int32)
    return Known(None, 0, 0, Places(np.zeros(count, np.int32), few, few), np.ones(count, bool), Pairs(none, none, none))


def _numbers(file: pq.ParquetFile, rows: Rows, key: str, first_rows: Numbers) -> Numbers:
    """Of each vector of the state its number now, or -1."""
    schema = pa.schema([_SCHEMA.field("key"), ("number", pa.int64())])
    spool(rows.work, "known", schema, file.iter_batches(_BATCH_ROWS, columns=["key"]), "number")
    found = rows.numbers(
        f"SELECT row, number AS value FROM (SELECT min(row) AS row, {key} AS key FROM rows "
        f"WHERE {key} IS NOT NULL GROUP BY 2) JOIN known USING (key)"
    )[first_rows]
    number = np.full(file.metadata.num_rows, -1)
    number[found[found >= 0]] = np.flatnonzero(found >= 0)
    return number


def _forget(number: Numbers, crowded: Mask, first: Numbers, second: Numbers) -> Numbers:
    """Crowds that lost a vector count as new: what held them together may have gone with it."""
    gone = np.flatnonzero(number < 0)
    if not len(gone) or not crowded.any():
        return number
    groups = Groups(len(number))
    groups.join(first, second)
    lost = crowded & np.isin(groups.smallest, groups.smallest[gone])
    return np.where(lost, -1, number)


def _entries(file: pq.ParquetFile, column: str) -> tuple[Numbers, Numbers]:
    """A column of lists as values and the rows that they are in."""
    values, parents, start = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
        lists = batch.column(0)
        values.append(lists.flatten().to_numpy().astype(np.int64))
        parents.append(start + np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy()))
        start += len(lists)
    return np.concatenate(values), np.concatenate(parents)


def _places(file: pq.ParquetFile, number: Numbers, count: int) -> Places:
    home = np.zeros(count, np.int32)
    stored = file.read(["home"])["home"].to_numpy()
    home[number[number >= 0]] = stored[number >= 0]
    visited, guest = _entries(file, "visited")
    guest = number[guest]
    order = np.argsort(guest, kind="stable")
    order = order[guest[order] >= 0]
    return Places(home, guest[order].astype(np.int32), visited[order].astype(np.int32))


def _read_space(uri: str, digest: str) -> Space | None:
    """None when it is gone: whoever made a new one replaced the state that named this."""
    try:
        data = storage.read_bytes(storage.join(uri, f"space-{digest}.npz"))
    except NotFoundError:
        return None
    with np.load(io.BytesIO(data)) as arrays:
        return Space(Lamp(arrays["directions"]), Cells.around(arrays["centroids"]))


def write_state(uri: str, keys: Iterable[pa.Array], known: Known) -> None:
    """Replace the state at `uri`.

    Args:
        uri: its folder.
        keys: of all vectors, in the order of their numbers, some at a time.
        known: about all of them; `is_new` does not count.
    """
    assert known.space
    directions, centroids = known.space.lamp.directions, known.space.cells.centroids
    digest = hashlib.sha256(directions.tobytes() + centroids.tobytes()).hexdigest()[:16]
    data = io.BytesIO()
    np.savez(data, directions=directions, centroids=centroids)
    storage.overwrite(storage.join(uri, f"space-{digest}.npz"), data.getvalue())
    facts = {"space": digest, "trained_on": known.trained_on, "count": len(known.places.home)}
    write_table(storage.join(uri, "vectors.parquet"), _SCHEMA, _tables(keys, known), facts)
    for info in layout.objects(uri):
        if storage.name(info.uri).startswith("space-") and digest not in info.uri:
            storage.delete(info.uri)


def _tables(keys: Iterable[pa.Array], known: Known) -> Iterator[pa.Table]:
    crowded = np.zeros(len(known.places.home), bool)
    crowded[known.pairs.crowded] = True
    start = 0
    for some_keys in keys:
        some = slice(start, start + len(some_keys))
        yield pa.table(
            {
                "key": some_keys,
                "crowded": crowded[some],
                "home": known.places.home[some],
                "visited": _lists(known.places.guest, known.places.visited, some),
                "near": _lists(known.pairs.second, known.pairs.first, some),
            }
        )
        start = some.stop


def _lists(parents: Numbers | Small, values: Numbers | Small, some: slice) -> pa.ListArray:
    """The values of some parents, which are sorted, as lists."""
    offsets = np.searchsorted(parents, np.arange(some.start, some.stop + 1))
    entries = pa.array(values[offsets[0] : offsets[-1]])
    return pa.ListArray.from_arrays(pa.array((offsets - offsets[0]).astype(np.int32)), entries)
