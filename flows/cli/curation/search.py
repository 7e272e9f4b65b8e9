"""`hanclip search` and `hanclip index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options.curation import SEARCH
from flows.options.keywords import options
from flows.options.shared import MEASURE, DatasetModel, Debug, Json, Output, examples
from pipeline.errors import UsageError
from pipeline.vocabulary import IndexKind, Side


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        rich_help_panel=MEASURE,
        epilog=examples(
            "hanclip search out/ 红色连衣裙",
            "hanclip search out/ 红色连衣裙 高跟鞋 --top 20 --html found.html",
            "hanclip search out/ photo.jpg",
            "hanclip search out/ photo.jpg 红色 --combine --not 高跟鞋",
            "hanclip search out/ 红色连衣裙 --where \"vendor = 'twemoji'\" --min-similarity 0.3 --one-per-group",
            "hanclip search out/ --id shop/1234 --in texts",
        ),
    )(search)
    app.command(
        rich_help_panel=MEASURE,
        epilog=examples("hanclip index out/", "hanclip index out/ --kind hnsw", "hanclip index out/ --check"),
    )(index)


@options(SEARCH)
def search(
    out: Output,
    query: Annotated[
        list[str] | None, typer.Argument(metavar="[QUERY]...", help="Words, or an image file; several if you like.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Words to search for, whatever they look like.")] = None,
    image: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Image to search for; path or URL.")] = None,
    like: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="More like this row.")] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a page of the pictures found, on this machine.")
    ] = None,
    model: DatasetModel = None,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Find the images, or texts, most like a text, an image or a row."""
    from flows.commands.curation import search as work  # keeps --help light

    if html is not None and "://" in html:
        raise UsageError(f"--html {html} is not a file on this machine: give a path, and copy the page from there.")
    asked = work.parse_queries(query or (), text or (), image or (), like or ())
    without = work.parse_plain(options.pop("not_") or ())
    request = SEARCH.parsed(options, queries=asked, without=without)
    work.show_search(out, request, None if html is None else Path(html), model, as_json)


def index(
    out: Output,
    kind: Annotated[
        IndexKind, typer.Option(help="ivf and hnsw compare with a part of the vectors, flat with all of them.")
    ] = "ivf",
    searched: Annotated[
        Side | None,
        typer.Option("--in", help="Which vectors to index: images or texts. If not given: images if there are any."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Build none: measure what the existing one finds.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Build an index for fast searches of a large dataset; run it again after the dataset grows."""
    from flows.commands.curation import index as work  # keeps --help light

    if check:
        work.show_check(out, searched, as_json)
    else:
        work.show_index(out, kind, searched, as_json)
