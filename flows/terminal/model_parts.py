"""The parts of a model that differ from those of the released models, as facts for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def settings(parts: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Settings of the tokenizer and of the towers, if any differ, as names and values."""
    for title, part in (("tokenizer", "tokenizer"), ("settings", "configuration")):
        if values := parts.get(part):
            yield title, ", ".join(f"{name} {value}" for name, value in values.items())
