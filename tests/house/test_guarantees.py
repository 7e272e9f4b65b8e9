"""Test that each guarantee in docs/guarantees.md names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.fixtures.places import ROOT

DOC = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROWS = [line for line in DOC.splitlines() if line.startswith("| ") and not line.startswith("| name")]


def test_every_guarantee_has_a_test_that_exists() -> None:
    assert len(ROWS) > 15
    for row in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"
