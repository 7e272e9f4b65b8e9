"""Test that the paths named in CONTRIBUTING.md exist."""

from __future__ import annotations

import re

from tests.fixtures.places import ROOT

PACKAGES = ("pipeline", "actors", "flows")
SUFFIXES = (".py", ".md", ".toml", ".txt", ".json")


def paths() -> list[str]:
    """Inline code spans that look like a path, outside code blocks."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    spans = re.findall(r"`([\w./-]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [span for span in spans if "/" in span or span.endswith(SUFFIXES)]


def exists(path: str) -> bool:
    """Whether a path exists below the root; a bare name may be a module of any package."""
    return (ROOT / path).exists() or ("/" not in path and any(next((ROOT / of).rglob(path), None) for of in PACKAGES))


def test_every_path_in_contributing_exists() -> None:
    assert len(paths()) > 30
    assert [path for path in paths() if not exists(path)] == []


def test_a_missing_path_is_detected() -> None:
    assert not exists("pipeline/utils.py")
    assert not exists("utils.py")
    assert exists("contract.py")
