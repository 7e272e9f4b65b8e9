"""What a page asks of a dataset besides searches: what there is to search and filter, a sample, everything about a row.

In: an id. Out: plain values. Vectors are left out; the texts that are nearest to a row's image come with it.
"""

from __future__ import annotations

from typing import Any

from pipeline.curation.filter.columns import FilterColumns
from pipeline.curation.search.exact import NoSuchRowError
from pipeline.curation.search.request import WantedRows
from pipeline.curation.search.sides import SEARCHED, sides_of
from pipeline.curation.vectors import KEY
from pipeline.dataset.scan import RUN_DATE
from pipeline.serving.errors import ApiError, ErrorCode
from pipeline.serving.search.asked import AskedSearch, GivenVector
from pipeline.serving.search.sample import sample
from pipeline.serving.search.scope import answer_columns
from pipeline.serving.search.searching import Searching

#: Rows that are looked at for texts, since many have the same, and texts that are given.
_ROWS_LOOKED_AT, _TEXTS = 30, 6


class Browsing:
    """A dataset that is looked at. Its methods read from the store, and may be called by several threads.

    Args:
        searching: its searches.
    """

    def __init__(self, searching: Searching) -> None:
        self._searching, self._dataset = searching, searching.dataset
        self._sampled: tuple[object, list[dict[str, Any]]] | None = None

    def facts(self) -> dict[str, Any]:
        """What can be searched and filtered, and whether there is a table of duplicates."""
        found = self._searching.read(lambda _: FilterColumns.of(self._dataset))
        vectors = self._dataset.identity.vector_columns
        columns = [field for field in found.schema if field.name not in vectors]
        return {
            "column": sides_of(self._dataset),
            "pictures": self._dataset.identity.has_images,
            "one_per_group": "dedup" in found.tables,
            "where": [{"name": field.name, "type": str(field.type)} for field in columns],
        }

    def sample(self) -> list[dict[str, Any]]:
        """Some rows from all over the dataset, chosen once for each state of it. Raises StorageError, RunError."""
        state, sampled = self._searching.state, self._sampled
        if sampled is None or sampled[0] is not state:
            sampled = self._sampled = state, self._searching.read(sample)
        return sampled[1]

    def row(self, id_: str) -> dict[str, Any]:
        """The current row with this id. Raises ApiError: there is none."""
        names = [*answer_columns(self._dataset), RUN_DATE.name]
        found = self._searching.read(lambda opened: opened.rows.columns_of([id_], [*KEY[1:], *names])).get(id_)
        if found is None:
            raise ApiError(404, ErrorCode.ID_NOT_FOUND, f"There is no row {id_!r} here. Check the id.", "id")
        columns = {name: found[name] for name in names if name in found}
        return {**{name: found[name] for name in KEY}, "columns": columns, "texts": self._texts(id_)}

    def _texts(self, id_: str) -> list[dict[str, Any]]:
        """The texts nearest to the row, each once; none in a dataset without texts, or if they have no index."""
        sides = sides_of(self._dataset)
        if "texts" not in sides:
            return []
        try:
            [vector] = self._searching.read(lambda opened: opened.rows.vectors_of([id_], SEARCHED[sides[0]]))
            wanted = WantedRows(top=_ROWS_LOOKED_AT)
            asked = AskedSearch([[GivenVector("id", vector)]], [], False, "texts", wanted, {"text": "text"})
            [hits] = self._searching.find(asked, []).hits
        except NoSuchRowError:  # a row without such a vector
            return []
        except ApiError as error:
            if error.code != ErrorCode.NOT_INDEXED:
                raise
            return []
        nearest: dict[str, dict[str, Any]] = {}
        for hit in hits:
            nearest.setdefault(hit["columns"]["text"], {name: hit[name] for name in ("similarity", *KEY)})
        return [{"text": text, **hit} for text, hit in list(nearest.items())[:_TEXTS]]
