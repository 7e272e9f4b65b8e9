"""Describes every command of the command line: arguments, options with their defaults, and examples.

In: the commands as Typer has them, which the options of pydantic models are part of. Out: a page for each entry of
`hanclip --help`, and one that lists them.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from enum import EnumMeta
from pathlib import Path
from typing import Any

import typer.main

from docs.generate.markdown import block, code, page, paragraphs, prose, table
from flows.cli.app import app

FOLDER = "reference/commands"
_MARKUP = re.compile(r"\[/?(?:bold|dim)\]")
#: What `flows.options.field` puts behind a description.
_NOTE = re.compile(r"\s*\[dim\]\\\[(default|off): (.*?)\]\[/dim\]")
#: What an option looks like if its parameter has no name for its value.
_VALUES = {int: "N", float: "X", Path: "PATH"}


def command_pages() -> dict[str, str]:
    """The pages by their path on the site."""
    top = typer.main.get_command(app)
    entries = _below(top)
    pages = {f"{FOLDER}/{name}.md": _page(f"hanclip {name}", command) for name, command in entries.items()}
    return {f"{FOLDER}/index.md": _index(top, entries), **pages}


def walk(command: Any, name: str = "hanclip") -> Iterator[tuple[str, Any]]:
    """Every command that can be typed, with its name in full; those that only group others are left out."""
    below = _below(command)
    if not below:
        yield name, command
    for word, inner in below.items():
        yield from walk(inner, f"{name} {word}")


def _below(command: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(command, "commands", {})
    return {name: inner for name, inner in found.items() if not inner.hidden}


def _index(top: Any, entries: dict[str, Any]) -> str:
    by_panel: dict[str, list[tuple[str, Any]]] = {}
    for name, command in entries.items():
        by_panel.setdefault(getattr(command, "rich_help_panel", None) or "Embed and check", []).append((name, command))
    parts = []
    for panel, commands in by_panel.items():
        rows = [[f"[{code(f'hanclip {name}')}]({name}.md)", prose(_lead(command))] for name, command in commands]
        parts += [f"## {panel}", table(["command", "what it does"], rows)]
    own = [param for param in top.params if not param.hidden]
    return page("Command line", paragraphs(_help(top)), *parts, "## Options of the program", _options(own))


def _page(title: str, command: Any) -> str:
    if not _below(command):
        return page(title, *_described(title, command, "##"))
    parts = [part for name, inner in walk(command, title) for part in (f"## {name}", *_described(name, inner, "###"))]
    return page(title, paragraphs(_help(command)), *parts)


def _described(name: str, command: Any, level: str) -> Iterator[str]:
    """The parts of a command's description, with headings of a level."""
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    yield paragraphs(_help(command))
    yield block("text", " ".join([name, *map(_argument, arguments), "[OPTIONS]"]))
    if arguments:
        rows = [[code(_argument(one)), prose(getattr(one, "help", None) or "")] for one in arguments]
        yield f"{level} Arguments"
        yield table(["argument", "meaning"], rows)
    by_panel: dict[str, list[Any]] = {}
    for param in shown:
        if param not in arguments:
            by_panel.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(param)
    for panel, params in sorted(by_panel.items(), key=lambda item: item[0] != "Options"):
        yield f"{level} {panel}"
        yield _options(params)
    if examples := _examples(command):
        yield f"{level} Examples"
        yield block("bash", "\n".join(examples))


def _options(params: list[Any]) -> str:
    return table(["option", "meaning"], [[_flags(param), _meaning(param)] for param in params])


def _argument(param: Any) -> str:
    name = param.metavar or str(param.name).upper()
    return str(name) if param.required or name.startswith("[") else f"[{name}]"


def _flags(param: Any) -> str:
    value = "" if param.is_flag else f" {_value(param)}"
    return ", ".join(code(f"{flag}{value}") for flag in param.opts)


def _value(param: Any) -> str:
    """What stands for the value of an option."""
    if param.metavar:
        return str(param.metavar)
    kind = param.type_descriptor.annotation
    if typing.get_origin(kind) is list:
        [kind] = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if isinstance(kind, EnumMeta):
        return "|".join(str(member.value) for member in list[Any](kind))
    return _VALUES.get(kind, "TEXT")


def _meaning(param: Any) -> str:
    described = param.help or ""
    note = _NOTE.search(described)
    parts = [prose(_NOTE.sub("", described))]
    if param.required:
        parts.append("Required.")
    if param.multiple and "several" not in described:
        parts.append("Repeat it for several.")
    if default := (note[2] if note and note[1] == "default" else _own_default(param)):
        parts.append(f"Default: {code(default)}.")
    if note and note[1] == "off":
        parts.append(f"Off: {code(note[2])}.")
    if limits := _limits(param):
        parts.append(limits)
    return " ".join(parts)


def _own_default(param: Any) -> str:
    """The default of an option that a command states itself; those of models are part of the help."""
    if param.is_flag or param.default in (None, "", [], ()) or callable(param.default):
        return ""
    return str(getattr(param.default, "value", param.default))


def _limits(param: Any) -> str:
    low, high = param.min, param.max
    if low is None and high is None:
        return ""
    return f"At least {low}." if high is None else f"At most {high}." if low is None else f"From {low} to {high}."


def _help(command: Any) -> str:
    return _MARKUP.sub("", command.help or "")


def _lead(command: Any) -> str:
    """The first sentence of the help."""
    return re.split(r"(?<=[.;])\s", _help(command).strip())[0].rstrip(";")


def _examples(command: Any) -> list[str]:
    lines = [line.strip() for line in _MARKUP.sub("", command.epilog or "").splitlines()]
    return [line for line in lines if line and line != "Examples"]
