"""What every flow with jobs has: its version, and hooks that complete its page whatever they find."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("prefect")

from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled

from flows.dev.health import FLOWS
from flows.scheduled import hooks
from pipeline import __version__


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_has_the_version_of_hanclip_and_hooks(name: str) -> None:
    flow = getattr(import_module(f"flows.scheduled.{name}"), name)
    assert (flow.name, flow.version) == (name, __version__)
    assert flow.on_crashed_hooks == [hooks.show_unreported]
    stopping = [] if name == "reap" else [hooks.stop_jobs]
    assert (flow.on_cancellation_hooks, flow.on_failure_hooks) == (stopping, stopping or [hooks.show_unreported])


def test_a_hook_that_cannot_look_for_jobs_completes_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: list[tuple[Any, ...]] = []
    monkeypatch.setattr(hooks, "show_end", lambda *given: shown.append(given))
    monkeypatch.setattr(hooks, "flow_run_logger", lambda *_: logging.getLogger("hook"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    flow_run = FlowRun(flow_id=uuid4(), parameters={"target": {"backend": "kuberay"}})
    hooks.stop_jobs(import_module("flows.scheduled.embed").embed, flow_run, Cancelled())
    ((name, run, _, note),) = shown
    assert (name, run) == ("embed", flow_run)
    assert note.startswith("Its jobs may still be running; reap stops them: Cannot read the kubeconfig")
