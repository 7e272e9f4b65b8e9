"""Commands in this process, as a person types them, and what they say to a machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flows.cli import main

#: Takes the words of a command and the exit code that it must have; gives the last JSON line that it prints.
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def hanclip(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json; its last line."""

    def run(*argv: object, code: int = 0) -> dict[str, Any]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, argv), "--json"])
        told: dict[str, Any] = json.loads(capfd.readouterr().out.splitlines()[-1])
        assert (ended.value.code or 0) == code, told
        return told

    return run
