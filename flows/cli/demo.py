"""`hanclip demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import Debug, examples


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=examples("hanclip demo", "hanclip demo /tmp/demo --query 红苹果 --query 一只猫"))(demo)


def demo(
    out: Annotated[str, typer.Argument(metavar="[OUT]", help="Folder of the output dataset.")] = "hanclip-demo",
    query: Annotated[list[str] | None, typer.Option(help="Chinese text to search for, in place of the five.")] = None,
    debug: Debug = False,
) -> None:
    """Embed the catalog that ships with the model that ships, then search it. No network, no GPU."""
    from flows.commands import demo as shipped  # keeps --help light

    raise typer.Exit(shipped.run(out, tuple(query or ())))
