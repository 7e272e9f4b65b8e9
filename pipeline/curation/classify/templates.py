"""Reads prompt templates from built-in sets and from files.

In: names of sets and files, which form one list. Out: templates with `{}` in place of the label. A repeated template
counts repeatedly in a class's mean vector, as in the published evaluation, which repeats four of its 183 templates.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline import storage
from pipeline.curation.classify.labels import read_lines
from pipeline.curation.classify.python_file import choose, lists_of
from pipeline.errors import ConfigError, NotFoundError

#: Stands for the label.
SLOT = "{}"
DEFAULT_SET = "general"


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """A built-in set; `about` describes its purpose in a few words."""

    about: str
    templates: tuple[str, ...]


@cache
def shipped_sets() -> dict[str, TemplateSet]:
    """The built-in sets, by name."""
    tree = tomllib.loads(Path(__file__).with_name("templates.toml").read_text(encoding="utf-8"))
    return {name: TemplateSet(entry["about"], tuple(entry["templates"])) for name, entry in tree.items()}


def read_templates(given: Sequence[str], dataset_name: str | None = None) -> tuple[str, ...]:
    """The templates of these sets and files together, with repetitions.

    Args:
        given: names of sets; files; lists in Python files, `FILE.py#NAME`.
        dataset_name: of an ELEVATER set, which decides between the lists of the authors' file.

    Raises:
        ConfigError: there are no such templates.
    """
    sets = shipped_sets()
    return tuple(
        template
        for name in given or (DEFAULT_SET,)
        for template in (sets[name].templates if name in sets else _from_file(name, dataset_name))
    )


def _from_file(name: str, dataset_name: str | None) -> list[str]:
    uri, _, wanted = name.rpartition("#") if ".py#" in name else (name, "", "")
    try:
        if storage.name(uri).endswith(".py"):
            return choose(uri, lists_of(uri, "\n".join(read_lines(uri))), wanted, dataset_name)
        lines = [line for line in read_lines(uri) if line.strip()]
    except NotFoundError as error:
        raise ConfigError(
            f"{uri} is neither a file nor a set of templates of hanclip ({', '.join(shipped_sets())}): see "
            "`hanclip classify --list-templates`."
        ) from error
    wrong = next((line for line in lines if SLOT not in line), None)
    if wrong is not None or not lines:
        found = "no template" if wrong is None else f"the line {wrong!r} without {SLOT}"
        raise ConfigError(f"{uri} holds {found}: write one template a line, with {SLOT} in place of the label.")
    return lines


def prompts(name: str, templates: Sequence[str]) -> list[str]:
    """The texts that are encoded for a class named `name`."""
    return [template.replace(SLOT, name) for template in templates]
