"""Writes search results as a page of pictures.

In: queries and their hits. Out: one HTML file. The image or row of a query is shown next to its hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import Hit, SearchResult
from pipeline.curation.search.groups import NoGroupsError, duplicate_groups
from pipeline.dataset.dataset import Dataset
from pipeline.errors import HanclipError, RunError, StorageError
from pipeline.images.thumbnail import thumbnail
from pipeline.report.page import render
from pipeline.report.pictures import SIDE, Picture, ShownRow, embedded, gaps_of, pictures
from pipeline.report.quantities import decimal
from pipeline.report.wording import say
from pipeline.scratch.workspace import Workspace


@dataclass(frozen=True, slots=True)
class QueryHits:
    """A query and its hits, in the form for the page. `kind` is text, image or id; `row` is the row of an id."""

    kind: str
    query: str
    picture: Picture | None
    row: ShownRow | None
    hits: list[ShownRow]


def write_search_page(
    out: str, queries: Sequence[tuple[str, str]], answer: SearchResult, searched: str, page: Path
) -> SearchResult:
    """Write the hits of `queries` (kind and value) in the dataset at `out` to the file `page`.

    Returns what the page shows: one hit of each group of duplicates, with a note if their table cannot be read.
    """
    dataset = Dataset.open(out)
    answer = _one_of_each_group(dataset, answer)
    rows = _rows(dataset, [value for kind, value in queries if kind == "id"])
    found = [
        QueryHits(kind, value, _query_picture(kind, value), rows.get(value) if kind == "id" else None, _numbered(hits))
        for (kind, value), hits in zip(queries, answer.hits, strict=True)
    ]
    shown = [*rows.values(), *(hit for one in found for hit in one.hits)] if dataset.identity.has_images else []
    album = pictures(dataset.uri, shown)
    html = render(
        "search.html.j2",
        dataset=dataset,
        name=storage.name(dataset.uri),
        found=found,
        answer=answer,
        searched=searched,
        pictures=album,
        gaps=gaps_of(album),
    )
    storage.overwrite(str(page), html.encode())
    return answer


def _rows(dataset: Dataset, ids: Sequence[str]) -> dict[str, ShownRow]:
    """The current rows with these ids, by id."""
    if not ids:
        return {}
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        tables = current.read(["id", "source_fingerprint", "text"], current.named(ids))
        rows = [row for table in tables for row in table.to_pylist()]
    return {row["id"]: ShownRow(row["id"], row["source_fingerprint"], row.get("text")) for row in rows}


def _one_of_each_group(dataset: Dataset, answer: SearchResult) -> SearchResult:
    """The first hit of each group of duplicates, if the table of duplicates is about the current rows."""
    if not any(answer.hits) or any(hit.group for hits in answer.hits for hit in hits):
        return answer
    try:
        with duplicate_groups(dataset) as groups:
            return replace(answer, hits=[groups.firsts(hits) for hits in answer.hits])
    except NoGroupsError:  # there is no such table, or it is stale
        return answer
    except (RunError, StorageError) as error:
        note = f"duplicates are shown one by one, since their table cannot be read ({error})"
        return replace(answer, notes=(*answer.notes, note))


def _numbered(hits: Sequence[Hit]) -> list[ShownRow]:
    return [
        ShownRow(
            hit.id,
            hit.source_fingerprint,
            hit.text,
            f"{rank} · {decimal(hit.similarity)}",
            alike=hit.group_size - 1,
        )
        for rank, hit in enumerate(hits, 1)
    ]


def _query_picture(kind: str, value: str) -> Picture | None:
    if kind != "image":
        return None
    try:
        return embedded(thumbnail(storage.read_bytes(value), SIDE))
    except HanclipError:
        return Picture(gap=say("reason.query_not_readable"))
