"""`hanclip search`: search, and print a table, a page or JSON.

In: queries as typed, and a request. Out: results on stdout, a line about the search on stderr.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.terminal import figures
from flows.terminal.json_lines import write_json
from flows.terminal.plain import line, plain
from flows.terminal.whole import print_table
from pipeline import storage, units
from pipeline.curation.encoder import encoder_of
from pipeline.curation.search.queries import AskedQuery
from pipeline.curation.search.request import SearchRequest
from pipeline.curation.search.run import SearchAnswer, search_dataset
from pipeline.errors import UsageError
from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.sources.texts import is_blank

_SHOWN_TEXT = 200
Queries = list[dict[str, str]]


def parse_queries(given: Sequence[str], texts: Sequence[str], images: Sequence[str], ids: Sequence[str]) -> Queries:
    """The queries in the order of the command line, arguments first. Raises UsageError."""
    named = {"text": texts, "image": images, "id": ids}
    queries = [*parse_plain(given), *({"kind": kind, "value": value} for kind in named for value in named[kind])]
    if not queries:
        raise UsageError("No query was given. Write: hanclip search OUT 红色连衣裙, or an image file, or --id ID.")
    return _seen(queries)


def parse_plain(given: Sequence[str]) -> Queries:
    """Arguments as queries: images where they look so, else texts. Raises UsageError."""
    return _seen([{"kind": "image" if _is_image(value) else "text", "value": value} for value in given])


def _seen(queries: Queries) -> Queries:
    if any(is_blank(query["value"]) for query in queries):
        raise UsageError("A query is empty, or no character of it can be seen: write what to search for.")
    return queries


def _is_image(value: str) -> bool:
    """Whether an argument is an image: it has an image's suffix, or is the path of a file."""
    _, dot, suffix = value.lower().rpartition(".")
    named = bool(dot) and suffix in IMAGE_SUFFIXES
    return named or os.path.isfile(value)  # pathlib raises if a query is too long for a name


def show_search(out: str, request: SearchRequest, page: Path | None, model: str | None, as_json: bool) -> None:
    """Search the dataset at `out` and print the results; also as a page, if one is wanted."""
    if page:
        storage.check_file(str(page))
    with Console(stderr=True).status("Reading the dataset") as doing:
        load = partial(encoder_of, out, model, "fp32")
        answer = search_dataset(out, request, load, on_phase=lambda what, *_: doing.update(what))
        if page:
            doing.update("Reading the pictures")
            answer = _write_page(answer, page)
    if as_json:
        write_json("search", _as_json(answer, page))
    else:
        print_table(_table(answer))
    _print_how(answer, page)


def _as_json(answer: SearchAnswer, page: Path | None) -> dict[str, Any]:
    result = answer.result
    found = [
        {**_query(asked), "hits": [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(hits, 1)]}
        for asked, hits in zip(answer.asked, result.hits, strict=True)
    ]
    facts = {"out": answer.out, "in": answer.side, "rows": result.rows, "by_index": result.by_index}
    return {**facts, "notes": result.notes, "page": page and str(page), "queries": found}


def _query(asked: AskedQuery) -> dict[str, Any]:
    query: dict[str, Any] = {"kind": asked.kind, "value": asked.value}
    if asked.kind == "combined":
        query["parts"] = [part.model_dump() for part in asked.parts]
        query["without"] = [part.model_dump() for part in asked.without]
    return query


def _table(answer: SearchAnswer) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("", justify="right", style="dim")
    table.add_column("similarity", justify="right")
    table.add_column("id", no_wrap=True)
    table.add_column("text", overflow="fold")
    for asked, hits in zip(answer.asked, answer.result.hits, strict=True):
        table.add_row("", "", _heading(asked), "")
        for rank, hit in enumerate(hits, 1):
            alike = f" (+{hit.group_size - 1:,} alike)" if hit.group_size > 1 else ""
            text = line(hit.text or "", _SHOWN_TEXT)
            table.add_row(str(rank), f"{hit.similarity:.4f}", plain(f"{hit.id}{alike}"), text)
        table.add_section()
    return table


def _heading(asked: AskedQuery) -> Text:
    """A query above its hits; what is no id and no path may be broken."""
    if asked.kind in ("image", "id"):
        return plain(f"{asked.kind} {asked.value}", "bold")
    heading = plain(asked.value, "bold")
    heading.no_wrap, heading.overflow = False, "fold"
    return heading


def _print_how(answer: SearchAnswer, page: Path | None) -> None:
    """Print to stderr, so that stdout holds only the result."""
    console, result = Console(stderr=True, highlight=False), answer.result
    how = f"{result.by_index:,} of them by the index" if result.by_index else "each compared"
    if result.by_index == result.rows > 0:
        how = "by the index"
    summary = f"{units.count(result.rows, 'row')} searched in {figures.duration(answer.search_s)}, {how}"
    console.print(Text(summary, style="dim"))
    for note in result.notes:
        console.print(plain(note, "yellow"), soft_wrap=True)
    if page:
        console.print(plain(f"pictures: {page}"), soft_wrap=True)


def _write_page(answer: SearchAnswer, page: Path) -> SearchAnswer:
    """Write the page; returns the answer with the page's notes."""
    from pipeline.report.search_page import write_search_page  # needs the extra curate

    queries = [(asked.kind, asked.value) for asked in answer.asked]
    shown = write_search_page(answer.out, queries, answer.result, answer.side, page)
    return replace(answer, result=replace(answer.result, notes=shown.notes))
