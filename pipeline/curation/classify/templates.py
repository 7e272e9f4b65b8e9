"""Prompt templates: names of sets that ship, or files, in; templates with `{}` where a label goes out.

Several sets or files are read as one list. A template that stands twice counts twice in a class's mean vector, as in
the published evaluation, whose list of 183 holds four templates two times.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.curation.classify.labels import read_lines
from pipeline.errors import ConfigError, NotFoundError

#: Where a label goes.
SLOT = "{}"
DEFAULT_SET = "general"


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """A set that ships; `about` says in a few words what it is for."""

    about: str
    templates: tuple[str, ...]


@cache
def shipped_sets() -> dict[str, TemplateSet]:
    """The sets that ship, by name."""
    tree = tomllib.loads(Path(__file__).with_name("templates.toml").read_text(encoding="utf-8"))
    return {name: TemplateSet(entry["about"], tuple(entry["templates"])) for name, entry in tree.items()}


def read_templates(given: Sequence[str]) -> tuple[str, ...]:
    """Templates of these sets and files together, repeated ones as often as they stand; raises ConfigError."""
    sets = shipped_sets()
    return tuple(
        template
        for name in given or (DEFAULT_SET,)
        for template in (sets[name].templates if name in sets else _from_file(name))
    )


def _from_file(uri: str) -> list[str]:
    try:
        lines = [line for line in read_lines(uri) if line.strip()]
    except NotFoundError as error:
        raise ConfigError(
            f"{uri} is neither a file nor a set of templates that ships ({', '.join(shipped_sets())}): see "
            "`hanclip classify --list-templates`."
        ) from error
    wrong = next((line for line in lines if SLOT not in line), None)
    if wrong is not None or not lines:
        found = "no template" if wrong is None else f"the line {wrong!r} without {SLOT}"
        raise ConfigError(f"{uri} holds {found}: write one template a line, with {SLOT} where the label goes.")
    return lines


def prompts(name: str, templates: Sequence[str]) -> list[str]:
    """What the model reads for a class that is called `name`."""
    return [template.replace(SLOT, name) for template in templates]
