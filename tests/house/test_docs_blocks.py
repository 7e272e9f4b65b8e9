"""Test the blocks of the documentation that are no commands, each parsed by what reads it, and quoted messages."""

from __future__ import annotations

import ast
import errno
import importlib
import json
import os
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipeline.config import RunConfig
from pipeline.curation.filter.rules import RulesFile
from pipeline.serving.settings import ServeSettings
from tests.fixtures.documents import PAGES, blocks, name_of
from tests.fixtures.places import ROOT

OWN = ("pipeline", "actors", "flows")


def check_yaml(tree: dict[str, Any]) -> None:
    """Validate a tree by the model that reads it; raises if no model does."""
    if "applications" in tree:
        for application in tree["applications"]:
            module, _, name = application["import_path"].partition(":")
            assert name in defined(module)
            ServeSettings.model_validate(application["args"])
    elif set(tree) <= set(RunConfig.model_fields):
        RunConfig.model_validate(tree)
    else:
        RulesFile.model_validate(tree)


def defined(module: str) -> set[str]:
    """Names at the top of a module, which is not imported: some need Ray."""
    found = importlib.util.find_spec(module)
    assert found, module
    assert found.origin, module
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    made = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    set_ = {
        name.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for name in node.targets
        if isinstance(name, ast.Name)
    }
    given = {
        one.asname or one.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for one in node.names
    }
    return made | set_ | given


def check_python(text: str) -> None:
    """Compile it, and resolve what it imports of hanclip."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OWN:
            assert {one.name for one in node.names} <= defined(node.module or ""), ast.unparse(node)
        elif isinstance(node, ast.Import):
            for one in node.names:
                assert one.name.split(".")[0] not in OWN or importlib.util.find_spec(one.name), one.name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_can_be_read(page: Path) -> None:
    for block in blocks(page, "python"):
        check_python(block)
    for block in blocks(page, "yaml"):
        check_yaml(yaml.safe_load(block))
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "sql"):
        assert duckdb.extract_statements(block)


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (check_python, "from pipeline.dataset import Datasets"),
        (check_python, "import pipeline.nothing"),
        (check_python, "print('"),
        (check_yaml, {"source": {"urls": ["a"]}}),
        (check_yaml, {"rule": {"a": "b"}}),
        (check_yaml, {"applications": [{"import_path": "actors.serving.replica:application", "args": {"modell": {}}}]}),
        (check_yaml, {"applications": [{"import_path": "actors.serving.replica:app", "args": {}}]}),
    ],
)
def test_a_wrong_block_is_found(check: Any, wrong: Any) -> None:
    with pytest.raises((AssertionError, SyntaxError, ValueError, ModuleNotFoundError)):
        check(wrong)


@pytest.mark.parametrize("page", ["docs/quick-start.md", "docs/zh/quick-start.md"])
def test_messages_that_a_table_of_symptoms_quotes_are_in_the_code(page: str) -> None:
    code = "".join(path.read_text(encoding="utf-8") for name in OWN for path in (ROOT / name).rglob("*.py"))
    code += os.strerror(errno.ENOSPC)
    symptoms = re.findall(r'^\| ([^|]*".*?) \|', (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    quoted = [part.strip() for cell in symptoms for said in re.findall(r'"(.+?)"', cell) for part in said.split("...")]
    assert len(quoted) >= 8
    assert [part for part in quoted if part not in code] == []
