"""The progress bar shows each phase with its own count, and nothing if it is silent."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.terminal import bars


@pytest.mark.parametrize("silent", [False, True])
def test_a_bar_restarts_with_each_phase(monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(bars, "Console", lambda **_: console)
    with bars.phase_bar("Reading keys", transient=False, silent=silent) as on_phase:
        on_phase("Reading rows", 1200, None)
        on_phase("Copying rows", 3, 5000)
    text = written.getvalue()
    assert ("Copying rows" in text, "3/5,000" in text) == (not silent, not silent)


@pytest.mark.parametrize("done", [3, 5])
def test_a_log_keeps_only_a_bar_that_came_to_its_end(monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=False, width=100)
    monkeypatch.setattr(bars, "Console", lambda **_: console)
    with bars.phase_bar("Reading keys", transient=False) as on_phase:
        on_phase("Copying rows", done, 5)
    assert written.getvalue().count("\n") == (done == 5)
    assert ("5/5" in written.getvalue()) == (done == 5)
