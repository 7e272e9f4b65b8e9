"""What an actor's process imports. Each runs many times, so a library that it does not need costs seconds of CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH, DUCKDB = {"torch", "tokenizers"}, {"duckdb", "_duckdb"}


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        # The second statement is what a decoder's set-up adds.
        ("actors.decoder; from pipeline.sources.registry import formats; formats()", TORCH | DUCKDB | {"pandas"}),
        ("actors.writer", TORCH | DUCKDB | {"PIL"}),
        ("actors.embedder", DUCKDB | {"pandas", "PIL"}),
        ("actors.driver", TORCH),
    ],
)
def test_a_process_imports_nothing_that_it_does_not_need(module: str, unneeded: set[str]) -> None:
    script = f"import sys, {module}\nprint(*sorted({unneeded!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
