"""`hanclip keys`: changes a file of keys, and shows what is in it."""

from __future__ import annotations

import math
from pathlib import Path

import typer

from flows.terminal.json_lines import write_json
from pipeline.errors import ConfigError
from pipeline.serving.access.keys import KeyFile


def add(file: Path, name: str, requests_per_s: float | None, as_json: bool) -> None:
    """Make a key and print it."""
    if requests_per_s is not None and not (0 < requests_per_s < math.inf):
        raise ConfigError(f"--rate {requests_per_s} is not a number of requests a second: give one above 0.")
    key = KeyFile(file).add(name, requests_per_s)
    if as_json:
        write_json("key", {"name": name, "key": key})
        return
    typer.echo(key)
    typer.echo(f"This is the key of {name}. It is not shown again; {file} holds its digest.", err=True)


def show(file: Path, as_json: bool) -> None:
    """Print the names."""
    keys = KeyFile(file).keys()
    if as_json:
        write_json("keys", {"keys": [{"name": key.name, "requests_per_s": key.requests_per_s} for key in keys]})
        return
    for key in keys:
        typer.echo(f"{key.name}  {f'{key.requests_per_s:g} requests/s' if key.requests_per_s else ''}".rstrip())
    if not keys:
        typer.echo(f"no keys in {file}: hanclip keys add {file} NAME")


def remove(file: Path, name: str, as_json: bool) -> None:
    """Remove a key."""
    KeyFile(file).remove(name)
    if as_json:
        write_json("removed", {"name": name})
    else:
        typer.echo(f"removed {name}")
