"""OpenMP's variables are set in one place, and what the user has set stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.machine.idle_threads import SERVER_SPINS, let_idle_threads_sleep
from tests.fixtures.places import ROOT

POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


@pytest.mark.parametrize(
    ("set_before", "spins", "expected"),
    [
        ({}, None, ("PASSIVE", None)),
        ({}, SERVER_SPINS, ("PASSIVE", "3000")),
        ({POLICY: "ACTIVE", SPINS: "7"}, SERVER_SPINS, ("ACTIVE", "7")),
    ],
)
def test_threads_sleep_unless_the_user_has_chosen(
    set_before: dict[str, str], spins: int | None, expected: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (POLICY, SPINS):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    let_idle_threads_sleep(spins)
    assert (os.environ.get(POLICY), os.environ.get(SPINS)) == expected


def test_no_other_module_sets_them() -> None:
    named = [
        str(path.relative_to(ROOT))
        for package in ("pipeline", "actors", "flows", "benchmarks")
        for path in Path(ROOT, package).rglob("*.py")
        if POLICY in path.read_text(encoding="utf-8")
    ]
    assert named == ["actors/machine/idle_threads.py"]
