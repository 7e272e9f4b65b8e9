"""Test that guarantees, promises of SECURITY.md and sentences of the README name tests and results that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fixtures.places import ROOT

LINK = re.compile(r"\[([^\[\]]*)\]\([^()\s]+\)")
README_SAYS = "## What the README says"
#: Sentences of the README that promise nothing.
ADVICE = {
    "Try the commands with it, and use a released Chinese CLIP for your own images.",
    "To install it for use without the scripts, into an environment of its own:",
    "Quick start has the extras, and what to do when a command fails.",
    "The demo's pictures and model have licences of their own.",
}


def rows(text: str) -> list[str]:
    return [
        line for line in text.splitlines() if line.startswith("| ") and not re.match(r"\| (name|sentence) \|", line)
    ]


def assert_exists(path: str, test: str) -> None:
    assert (ROOT / path).exists(), path
    if test:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"


@pytest.mark.parametrize(("page", "least"), [("docs/guarantees.md", 16), ("SECURITY.md", 7)])
def test_every_guarantee_has_a_test_that_exists(page: str, least: int) -> None:
    found = rows((ROOT / page).read_text(encoding="utf-8").partition(README_SAYS)[0])
    assert len(found) >= least
    for row in found:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert_exists(path, test)


def sentences() -> set[str]:
    """The sentences of the README, and the rows of its tables; without figures, code, headings and lists of links."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(
        r"<!-- figures.*?end of figures -->|```.*?```|<img .*?\n|^#.*?\n|\*\*[^*]+\.\*\* |\*\*|^\|[ -].*?\n\|---.*?\n",
        "",
        text,
        flags=re.S | re.M,
    )
    found = set()
    for part in re.split(r"\n\n+|\n(?=\|)", text):
        whole = " ".join(part.split())
        if whole.startswith("|"):
            found.add(": ".join(cell.strip() for cell in whole.strip("|").split(" | ")))
            continue
        for sentence in re.split(r"(?<=\.) (?=[A-Z`\[])", whole):
            if re.search(r"\w{2}", re.sub(r"^Tutorials:|^English|\band\b", "", LINK.sub("", sentence))):
                found.add(LINK.sub(r"\1", sentence))
    return found


def test_every_sentence_of_the_readme_is_held_by_something_that_exists() -> None:
    held = rows((ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").partition(README_SAYS)[2])
    said = {}
    for row in held:
        sentence, _, by = row.strip("| ").rpartition(" | ")
        said[sentence] = re.findall(r"`((?:tests|benchmarks|scripts|\.ci)/[\w./-]+)(?:::(\w+))?`", by)
    assert sorted(sentences() - said.keys() - ADVICE) == []
    assert sorted((said.keys() | ADVICE) - sentences()) == []
    for sentence, named in said.items():
        assert named, sentence
        for path, test in named:
            assert_exists(path, test)
