"""Test every command shown in the documentation: each is parsed, or what it names is looked for; none is run."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import typer.main
import yaml
from pydantic import ValidationError

from docs.generate.api import openapi
from flows.cli.app import app
from flows.options.run import build
from tests.fixtures.documents import PAGES, blocks, commands, name_of
from tests.fixtures.infra import COMPOSE, INFRA
from tests.fixtures.places import ROOT

#: Commands of the system, with what keeps them from being checked.
UNCHECKED = {
    "$EDITOR": "opens an editor",
    ".": "reads a file that an earlier line made",
    "cp": "copies files of the reader's folder",
    "export": "sets variables of the reader's shell",
    "mkdir": "makes a folder of the reader",
    "printf": "prints its words",
    "source": "reads a file that an earlier line made",
    "tar": "unpacks an archive",
}
#: Errors of a command or an option that is named without what belongs to it.
ONLY_NAMED = {"BadOptionUsage", "MissingParameter", "NoArgsIsHelpError"}
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = set(GROUPS["project"]["optional-dependencies"])


def hanclip(words: list[str]) -> None:
    """Parse the words with the command's own parser, and validate what they give by the models of its options."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    if {"--help", "--version"} & set(words):
        return
    assert not (hasattr(command, "commands") and words), f"no such command: {' '.join(words)}"
    given = command.make_context("hanclip", list(words)).params
    for model in getattr(command._function, "_models", ()):
        try:
            model.kind.model_validate(model.given(given))
        except ValidationError as error:
            if any(map(_is_wrong, error.errors())):
                raise
    if given.get("paths"):
        build(given["paths"], None, {})


def _is_wrong(error: Any) -> bool:
    """Whether a value is wrong; positional arguments and files give those that are missing, the shell a variable's."""
    from_elsewhere = error["type"] == "tuple_type" and isinstance(error["input"], str)
    return error["type"] != "missing" and not from_elsewhere and not str(error["input"]).startswith("$")


@cache
def documented() -> dict[str, Any]:
    return openapi()


def curl(words: list[str]) -> None:
    """The route exists, and takes the fields of the body or the parameters."""
    [url] = [word for word in words if word.startswith(("localhost", "http"))]
    address = urlsplit(url if "//" in url else f"//{url}")
    if address.path in {"/metrics", "/openapi.json"}:
        return
    method = "post" if "-d" in words and "-G" not in words else "get"
    routes = documented()["paths"]
    found = [path for path in routes if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), address.path)]
    assert address.netloc == "localhost:8000", f"no server of the documentation listens at {address.netloc}"
    assert found, f"no such route: {address.path}"
    assert method in routes[found[0]], f"{address.path} does not take {method}"
    route = routes[found[0]][method]
    if method == "get":
        known = {one["name"] for one in route.get("parameters", ())}
        added = [after for before, after in pairwise(words) if before in ("-d", "--data-urlencode")]
        query = parse_qsl("&".join([address.query, *added]))
        assert {name for name, _ in query} <= known, words
        return
    schema = route["requestBody"]["content"]["application/json"]["schema"]
    body = json.loads(words[words.index("-d") + 1])
    assert set(schema.get("required", ())) <= set(body) <= set(schema["properties"]), body


def pip(words: list[str]) -> None:
    for word in words:
        if found := re.fullmatch(r"\.\[(.*)\]", word):
            assert set(found[1].split(",")) <= EXTRAS, word
        assert not word.endswith(".txt") or (ROOT / word).exists(), word


def python(words: list[str]) -> None:
    """`-m` names a module that can be run, a file exists."""
    if words[0] == "-m":
        name = words[1]
        assert importlib.util.find_spec(name), name
        # a package needs a module that is run
        assert not (ROOT / name.replace(".", "/")).is_dir() or importlib.util.find_spec(f"{name}.__main__"), name
    elif words[0] != "-c":
        assert (ROOT / words[0]).exists(), words[0]


@cache
def deployments() -> set[str]:
    """Names of deployments: of infra/prefect, and the same flows in the local stack."""
    tree = yaml.safe_load((INFRA / "prefect/prefect.yaml").read_text(encoding="utf-8"))
    return {f"{one['entrypoint'].rpartition('.')[2]}/{kind}" for one in tree["deployments"] for kind in ("prod", "dev")}


def prefect(words: list[str]) -> None:
    if words[:2] == ["deployment", "run"]:
        assert words[2] in deployments(), words[2]
    else:
        assert words[:2] in (["worker", "start"], ["work-pool", "ls"]), words


def kubectl(words: list[str]) -> None:
    for flag, name in pairwise(words):
        if flag in {"-f", "-k", "--kustomize"} and name.startswith("infra/"):
            assert (ROOT / name).exists(), name


def docker(words: list[str]) -> None:
    profiles = {
        one
        for service in yaml.safe_load(COMPOSE.read_text())["services"].values()
        for one in service.get("profiles", ())
    }
    for flag, name in pairwise(words):
        assert flag != "-f" or (ROOT / name).exists(), name
        assert flag != "--profile" or name in profiles, name


def cd(words: list[str]) -> None:
    assert (ROOT / words[0]).is_dir(), words


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "cd": cd,
    "curl": curl,
    "docker": docker,
    "hanclip": hanclip,
    "kubectl": kubectl,
    "pip": pip,
    "prefect": prefect,
    "python": python,
    "python3": python,
}


def check(words: list[str]) -> None:
    """Raise unless the command is right as far as that can be seen without running it."""
    program, rest = re.sub(r"^(\.venv|\.\./\S+)/bin/", "", words[0]), words[1:]
    if program in CHECKS:
        CHECKS[program](rest)
    elif program.startswith(("scripts/", "infra/", "examples/")):
        assert (ROOT / program).stat().st_mode & 0o100, program
        if program == "scripts/install":
            assert set(rest) <= EXTRAS | set(GROUPS["dependency-groups"]), rest
    else:
        assert program in UNCHECKED, f"no check is known for {program}: add one, or a reason to UNCHECKED"


def spans(page: Path) -> Iterator[list[str]]:
    """Spans of code in tables that are commands of hanclip."""
    for line in page.read_text(encoding="utf-8").splitlines():
        for span in re.findall(r"`(hanclip [^`]*)`", line) if line.startswith("|") else ():
            yield from commands(span.replace("\\|", "|"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_shown_can_be_typed(page: Path) -> None:
    for words in [words for block in blocks(page, "bash", "sh", "shell", "console") for words in commands(block)]:
        try:
            check(words)
        except Exception as error:
            raise AssertionError(f"{shlex.join(words)}: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_named_in_a_table_exists_with_its_options(page: Path) -> None:
    for words in spans(page):
        try:
            check(words)
        except Exception as error:
            if type(error).__name__ not in ONLY_NAMED:
                raise AssertionError(f"{shlex.join(words)}: {error}") from error


@pytest.mark.parametrize(
    "line",
    [
        "hanclip embd photos/ out/",
        "hanclip embed photos/ out/ --modle demo",
        "hanclip embed photos/ out/ --batch-size many",
        "hanclip embed photos/ out/ --format zip",
        "hanclip embed photos/ out/ --max-quarantine 7",
        "hanclip embed photos/",
        "hanclip search out/ cat --top 0",
        "hanclip model",
        "hanclip status",
        "x=$(hanclip embd a b) scripts/test",
        "scripts/tset",
        "scripts/install embd",
        ".venv/bin/pip install '.[embd]'",
        "python -m benchmarks.nothing",
        "python nothing.py",
        'curl localhost:8000/v1/embedding -d \'{"input": "a"}\'',
        'curl localhost:8000/v1/embeddings -d \'{"inputs": "a"}\'',
        "curl localhost:8000/v1/embeddings",
        "curl 'localhost:8000/v1/search?q=a&topp=3'",
        "prefect deployment run nightly/test",
        "kubectl apply -f infra/kuberay/nothing.yaml",
        "docker compose --profile monitor up",
        "cd infra/nothing",
        "unheard-of",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    def all_of_them() -> None:
        for words in commands(line):
            check(words)

    with pytest.raises(Exception):  # noqa: B017, PT011 - each parser has errors of its own
        all_of_them()


def test_commands_are_split_as_a_shell_does() -> None:
    script = "a 'x; y' \\\n  b # c\nd=1 e > f && g | h\ni \"$(j k)\" '\n two lines'"
    assert list(commands(script)) == [
        ["a", "x; y", "b"],
        ["e"],
        ["g"],
        ["h"],
        ["j", "k"],
        ["i", "$(j k)", "\n two lines"],
    ]


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


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*/run")), ids=lambda path: path.parent.name)
def test_every_command_of_an_example_can_be_typed(script: Path) -> None:
    checked = 0
    for words in commands(script.read_text(encoding="utf-8")):
        words = words[words[0] == "exec" :]
        if words[0] in {"hanclip", "prefect"}:
            check(words)
            checked += 1
    assert checked >= 3
