"""`hanclip search`: encode the queries, search, and print a table, a page or JSON.

In: queries as typed. Out: results on stdout, a line about the search on stderr. The model is loaded only for queries
that are not rows with stored vectors.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.terminal import figures
from flows.terminal.json_lines import write_json
from flows.terminal.plain import line, plain
from pipeline import storage, units
from pipeline.curation.encoder import encoder_of
from pipeline.curation.search.exact import SEARCHED, SearchResult, search, vectors_of
from pipeline.curation.vectors import Vectors, require_vectors
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ImageError, NotFoundError, UsageError
from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.sources.texts import is_blank

if TYPE_CHECKING:
    from pipeline.images.decode import DecodedImage
    from pipeline.model.chinese_clip import ChineseClip

_MAX_IMAGE_BYTES, _MAX_PIXELS = 64 * 2**20, 2**28
_CURE = "check its name, or search for the words with --text."
_SHOWN_ID, _SHOWN_TEXT = 48, 200


@dataclass(frozen=True, slots=True)
class Query:
    """One query; by `kind`, `value` is text, the URI of an image, or an id."""

    kind: Literal["text", "image", "id"]
    value: str


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The options of a search.

    Attributes:
        searched: "images" or "texts".
        top: rows per query.
        exact: do not use an index.
        html: a page to write.
        model: the model's location if it has moved.
    """

    searched: str
    top: int
    exact: bool
    html: Path | None
    model: str | None


def parse_queries(given: Sequence[str], texts: Sequence[str], images: Sequence[str], ids: Sequence[str]) -> list[Query]:
    """The queries in the order of the command line, arguments first. Raises UsageError."""
    queries = [*(Query("image" if _is_image(value) else "text", value) for value in given)]
    queries += [*(Query("text", value) for value in texts), *(Query("image", value) for value in images)]
    queries += [Query("id", value) for value in ids]
    if not queries:
        raise UsageError("No query was given. Write: hanclip search OUT 红色连衣裙, or an image file, or --id ID.")
    if any(is_blank(query.value) for query in queries):
        raise UsageError("A query is empty, or no character of it can be seen: write what to search for.")
    return queries


def _is_image(value: str) -> bool:
    """Whether an argument is an image: it has an image's suffix, or is the path of a file."""
    _, dot, suffix = value.lower().rpartition(".")
    named = bool(dot) and suffix in IMAGE_SUFFIXES
    return named or os.path.isfile(value)  # pathlib raises if a query is too long for a name


def show_search(out: str, queries: Sequence[Query], wanted: SearchOptions, as_json: bool) -> None:
    """Search the dataset at `out` and print the results."""
    dataset = Dataset.open(out)
    vector = SEARCHED[wanted.searched]
    require_vectors(dataset, vector)
    with Console(stderr=True).status("Loading the dataset's model") as doing:
        vectors = _vectors(out, queries, vector, wanted.model)
        doing.update("Searching")
        began_s = time.perf_counter()
        own = [query.value if query.kind == "id" else None for query in queries]
        answer = _search(out, vectors, vector, wanted, own)
        seconds = time.perf_counter() - began_s
        if wanted.html:
            doing.update("Reading the pictures")
            _write_page(out, queries, answer, wanted)
    if as_json:
        write_json("search", _as_json(dataset.uri, queries, answer, wanted))
    else:
        Console(highlight=False).print(_table(queries, answer))
    _print_how(answer, seconds, wanted)


def _vectors(out: str, queries: Sequence[Query], vector: str, model: str | None) -> Vectors:
    """(Q, D), one for each query, in order."""
    found: dict[Query, Vectors] = {}
    if ids := [query for query in queries if query.kind == "id"]:
        found |= dict(zip(ids, vectors_of(out, [query.value for query in ids], vector), strict=True))
    if others := [query for query in queries if query.kind != "id"]:
        images = {query: read_image(query.value, _CURE) for query in others if query.kind == "image"}
        encoder = encoder_of(out, model, "fp32")
        texts = [query for query in others if query.kind == "text"]
        found |= dict(zip(texts, encoder.encode_texts([query.value for query in texts]), strict=True))
        found |= {query: _encode_image(encoder, data, query.value) for query, data in images.items()}
    return np.stack([found[query] for query in queries])


def read_image(address: str, cure: str = "check its name.") -> bytes:
    """The bytes of an image that a user named. Raises UsageError with `cure` if there is none, StorageError."""
    try:
        return storage.read_bytes(address, max_bytes=_MAX_IMAGE_BYTES)
    except NotFoundError as error:
        raise UsageError(f"There is no image {address}: {cure}") from error


def decoded(encoder: ChineseClip, data: bytes, address: str) -> DecodedImage:
    """The image as the model sees it. Raises UsageError."""
    from pipeline.images.decode import decode  # only image queries decode

    try:
        return decode(data, encoder.image_size, _MAX_PIXELS)
    except ImageError as error:
        raise UsageError(f"{address} is not a readable image ({error}): choose another.") from error


def _encode_image(encoder: ChineseClip, data: bytes, address: str) -> Any:
    return encoder.encode_images(decoded(encoder, data, address).pixels[None])[0]


def _search(out: str, vectors: Vectors, vector: str, wanted: SearchOptions, own: list[str | None]) -> SearchResult:
    if wanted.exact:
        return search(out, vectors, wanted.top, vector, own)
    try:
        from pipeline.curation.search.with_index import find
    except ModuleNotFoundError:  # faiss is in the extra `curate`, and only an index needs it
        return search(out, vectors, wanted.top, vector, own)
    return find(out, vectors, wanted.top, vector, own)


def _as_json(uri: str, queries: Sequence[Query], answer: SearchResult, wanted: SearchOptions) -> dict[str, Any]:
    found = [
        {**asdict(query), "hits": [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(hits, 1)]}
        for query, hits in zip(queries, answer.hits, strict=True)
    ]
    facts = {"out": uri, "in": wanted.searched, "rows": answer.rows, "by_index": answer.by_index}
    return {**facts, "notes": answer.notes, "page": wanted.html and str(wanted.html), "queries": found}


def _table(queries: Sequence[Query], answer: SearchResult) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("", justify="right", style="dim")
    table.add_column("similarity", justify="right")
    table.add_column("id", overflow="fold", max_width=_SHOWN_ID)
    table.add_column("text", overflow="fold")
    for query, hits in zip(queries, answer.hits, strict=True):
        label = plain(query.value if query.kind == "text" else f"{query.kind} {query.value}", "bold")
        table.add_row("", "", label, "")
        for rank, hit in enumerate(hits, 1):
            table.add_row(str(rank), f"{hit.similarity:.4f}", plain(hit.id), line(hit.text or "", _SHOWN_TEXT))
        table.add_section()
    return table


def _print_how(answer: SearchResult, seconds: float, wanted: SearchOptions) -> None:
    """Print to stderr, so that stdout holds only the result."""
    console = Console(stderr=True, highlight=False)
    how = f"{answer.by_index:,} of them by the index" if answer.by_index else "each compared"
    if answer.by_index == answer.rows > 0:
        how = "by the index"
    summary = f"{units.count(answer.rows, 'row')} searched in {figures.duration(seconds)}, {how}"
    console.print(Text(summary, style="dim"))
    for note in answer.notes:
        console.print(plain(note, "yellow"))
    if wanted.html:
        console.print(plain(f"pictures: {wanted.html}"), soft_wrap=True)


def _write_page(out: str, queries: Sequence[Query], answer: SearchResult, wanted: SearchOptions) -> None:
    from pipeline.report.search_page import write_search_page  # needs the extra curate

    assert wanted.html is not None
    write_search_page(out, [(query.kind, query.value) for query in queries], answer, wanted.searched, wanted.html)
