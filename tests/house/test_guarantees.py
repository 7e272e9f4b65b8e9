"""Test that each guarantee in docs/guarantees.md, and each promise in SECURITY.md, names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fixtures.places import ROOT


@pytest.mark.parametrize(("page", "least"), [("docs/guarantees.md", 16), ("SECURITY.md", 7)])
def test_every_guarantee_has_a_test_that_exists(page: str, least: int) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| name")]
    assert len(rows) >= least
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"
