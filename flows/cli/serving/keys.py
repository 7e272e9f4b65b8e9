"""`hanclip keys add|list|remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.lazy import LazyTyper
from flows.options.shared import ONLINE, Debug, Json, examples

KeysFile = Annotated[Path, typer.Argument(metavar="FILE", help="File of keys, as `hanclip serve --api-keys` takes it.")]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Who uses the key: letters, digits, '_', '-' and '.'.")]
KeyRate = Annotated[float | None, typer.Option(metavar="X", help="Requests a second; the server's rate if not given.")]

keys = LazyTyper(name="keys", help="Make and remove API keys of `hanclip serve`.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(keys, rich_help_panel=ONLINE)


@keys.command(epilog=examples("hanclip keys add keys.txt shop", "hanclip keys add keys.txt nightly --rate 5"))
def add(file: KeysFile, name: KeyName, rate: KeyRate = None, as_json: Json = False, debug: Debug = False) -> None:
    """Make a key and show it, once; the file holds its digest alone."""
    from flows.commands.serving import keys as work  # keeps --help light

    work.add(file, name, rate, as_json)


@keys.command("list", epilog=examples("hanclip keys list keys.txt"))
def list_keys(file: KeysFile, as_json: Json = False, debug: Debug = False) -> None:
    """Show the names in a file, and their rates."""
    from flows.commands.serving import keys as work  # keeps --help light

    work.show(file, as_json)


@keys.command(epilog=examples("hanclip keys remove keys.txt shop"))
def remove(file: KeysFile, name: KeyName, as_json: Json = False, debug: Debug = False) -> None:
    """Remove a key; running servers refuse it within seconds."""
    from flows.commands.serving import keys as work  # keeps --help light

    work.remove(file, name, as_json)
