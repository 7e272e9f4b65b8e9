"""The page of pictures that a search writes.

In: queries and what was found. Out: one HTML file. The image of a query is shown beside what it found.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.curation.search import Answer, Hit
from pipeline.dataset import Dataset
from pipeline.errors import HanclipError
from pipeline.images import thumbnail
from pipeline.report.page import decimal, render
from pipeline.report.pictures import SIDE, Picture, Shown, pictures


@dataclass(frozen=True, slots=True)
class Found:
    """A query and its hits, as the page shows them. `kind` is text, image or id."""

    kind: str
    query: str
    picture: Picture | None
    hits: list[Shown]


def write_search_page(out: str, queries: Sequence[tuple[str, str]], answer: Answer, searched: str, page: Path) -> None:
    """Write what `queries` (kind and value) found in the dataset at `out` to the file `page`."""
    dataset = Dataset.open(out)
    found = [
        Found(kind, value, _query_picture(kind, value), [_shown(n, hit) for n, hit in enumerate(hits, 1)])
        for (kind, value), hits in zip(queries, answer.hits, strict=True)
    ]
    rows = [hit for one in found for hit in one.hits] if dataset.identity.has_images else []
    html = render(
        "search.html.j2",
        dataset=dataset,
        name=storage.name(dataset.uri),
        found=found,
        answer=answer,
        searched=searched,
        pictures=pictures(dataset.uri, rows),
    )
    storage.overwrite(str(page), html.encode())


def _shown(rank: int, hit: Hit) -> Shown:
    return Shown(hit.id, hit.source_fingerprint, hit.text, f"{rank} · {decimal(hit.similarity)}")


def _query_picture(kind: str, value: str) -> Picture | None:
    if kind != "image":
        return None
    try:
        small = thumbnail(storage.read_bytes(value), SIDE)
    except HanclipError:
        return Picture(gap="query image not readable")
    return Picture(f"data:image/webp;base64,{base64.b64encode(small).decode()}")
