"""Test that commands shown in the documentation exist with their options, and that the tests it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer.main

from flows.cli.app import app
from tests.fixtures.places import ROOT

PAGES = [*ROOT.glob("README*.md"), *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Lines that start with `hanclip` in shell blocks, continuations joined; and complete code spans in tables."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    spans = [
        span for line in text.splitlines() if line.startswith("|") for span in re.findall(r"`(hanclip [^`]*)`", line)
    ]
    return [line for line in [*lines, *spans] if line.startswith("hanclip ")]


def check(line: str) -> None:
    """Resolve the subcommand and require that it has every option of the line."""
    argv = shlex.split(line.split(" > ")[0].replace("\\|", "|"), comments=True)[1:]
    command: click.Command = typer.main.get_command(app)
    while argv and hasattr(command, "commands") and argv[0] in command.commands:
        command = command.commands[argv.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    given = [word.partition("=")[0] for word in argv if re.match(r"--?[a-z]", word)]
    assert not (hasattr(command, "commands") and argv), f"no such command: {line}"
    assert set(given) <= known, f"{line}: {sorted(set(given) - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    for line in commands(page):
        try:
            check(line)
        except ValueError:  # a string that continues on the next line
            check(line.partition('"')[0].partition("'")[0])


def test_the_features_table_names_tests_that_run_the_command() -> None:
    page = (ROOT / "docs" / "chinese-clip.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in page.partition("<!-- features -->")[2].splitlines()
        if " | " in line
    ]
    tested = [row for row in rows[1:] if len(row) == 4]
    assert len(tested) >= 20
    for row in tested:
        command, test = re.search(r"`hanclip (\w+)", row[2]), re.search(r"`(tests/[\w/]+\.py)`", row[3])
        assert command, row
        assert test, row
        source = (ROOT / test[1]).read_text(encoding="utf-8")
        assert command[1] in source, f"{test[1]} runs no {command[1]}"
