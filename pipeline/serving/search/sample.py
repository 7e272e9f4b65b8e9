"""Chooses rows that show what a dataset holds, for a reader who has not asked for anything yet.

In: a dataset. Out: a few of its current rows from all over it, one of each group of duplicates; the same ones as long
as the dataset stays as it is. They are taken from a few row groups, so that a large dataset costs little more than a
small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline import storage
from pipeline.curation.filter.columns import FilterColumns
from pipeline.curation.search.exact import text_columns
from pipeline.curation.search.opened.dataset import OpenDataset
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.keys.index import read_facts
from pipeline.dataset.outcomes import read_rows

_SIZE = 24
#: Rows that are looked at: some are replaced by newer ones, and some are duplicates.
_PLACES, _ROWS_OF_A_PLACE = 12, 8
#: Neighbours in a source are often alike; as far apart they are still in one row group.
_APART = 97
_AT_ONCE = 8


def sample(opened: OpenDataset) -> list[dict[str, Any]]:
    """At most 24 rows: their key and, as `columns`, their text. Raises StorageError, RunError."""
    dataset = opened.dataset
    ids = _ids(dataset)
    names = text_columns(dataset)
    rows = opened.rows.columns_of(ids, [*KEY[1:], *names]) if ids else {}
    groups = _groups(dataset, ids)
    chosen: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in (rows[id_] for id_ in ids if id_ in rows):
        key = tuple(str(row[name]) for name in KEY)
        group = groups.get(key)
        chosen.setdefault(key if group is None else (group,), row)
    return [
        {**{name: row[name] for name in KEY}, "columns": {name: row[name] for name in names}}
        for row in list(chosen.values())[:_SIZE]
    ]


def _ids(dataset: Dataset) -> list[str]:
    """Ids of rows, current or not; any number of the first ones are spread over the dataset."""
    files = dataset.files()
    starts = np.cumsum([0, *(facts.rows_embedded for facts in read_facts(dataset.uri, files))])
    wanted = _numbers(int(starts[-1]))
    by_file: dict[int, list[int]] = {}
    for number in sorted(wanted):
        file = int(np.searchsorted(starts, number, side="right")) - 1
        by_file.setdefault(file, []).append(number)

    def read(file: int) -> dict[int, str]:
        numbers = by_file[file]
        rows = np.array(numbers, np.int64) - starts[file]
        return dict(zip(numbers, read_rows(files[file].uri, rows, ["id"])["id"].to_pylist(), strict=True))

    found: dict[int, str] = {}
    for some in storage.in_threads(read, list(by_file), _AT_ONCE):
        found |= some
    return list(dict.fromkeys(found[number] for number in wanted))


def _numbers(rows: int) -> list[int]:
    """Numbers of rows: the first ones of all places, then the second ones, and so on."""
    places = np.arange(_PLACES) * rows // _PLACES
    apart = max(1, min(_APART, rows // (_PLACES * _ROWS_OF_A_PLACE)))
    numbers = (np.arange(_ROWS_OF_A_PLACE)[:, None] * apart + places).ravel()
    return list(dict.fromkeys(numbers[numbers < rows].tolist()))


def _groups(dataset: Dataset, ids: Sequence[str]) -> dict[tuple[str, ...], str]:
    """The groups of duplicates that rows are in, by key; none of a dataset without a table of duplicates."""
    table = FilterColumns.of(dataset).tables.get("dedup")
    if table is None:
        return {}
    found = table.to_table([*KEY, "group"], filter=pc.field("id").isin(ids)).to_pylist()
    return {tuple(str(row[name]) for name in KEY): row["group"] for row in found if row["group"] is not None}
