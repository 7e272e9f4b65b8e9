"""The smoke test stops at the first broken link and names its cure. A working installation: tests/scheduled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from typer.testing import CliRunner

from flows.smoke import embed
from flows.smoke.__main__ import app
from flows.smoke.installation import Installation
from pipeline.errors import RunError
from tests.fixtures.places import ROOT
from tests.fixtures.processes import free_port


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Storage works; nothing listens where Prefect and Ray should be."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("PREFECT_API_URL", f"{nowhere}/api")
    monkeypatch.setenv("HANCLIP_RAY_ADDRESS", nowhere)
    monkeypatch.setenv("HANCLIP_OUT", str(tmp_path / "embeddings"))
    return tmp_path


def test_missing_settings_are_named_together(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANCLIP_OUT")
    monkeypatch.setenv("HANCLIP_RAY_ADDRESS", "")
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 1
    assert "HANCLIP_OUT" in done.stderr
    assert "HANCLIP_RAY_ADDRESS" in done.stderr
    assert "PREFECT_API_URL" not in done.stderr


def test_a_prefect_server_that_does_not_answer_is_reported(installation: Path) -> None:
    # In a process that starts with these settings: Prefect reads them when it is imported.
    done = subprocess.run([sys.executable, "-m", "flows.smoke"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.split()[:2] == ["ok", "storage"]
    assert "FAIL  prefect" in done.stderr
    assert "PREFECT_API_URL" in done.stderr
    assert not list(installation.glob("**/*.txt")), "the probe was deleted"


def test_storage_that_cannot_be_written_is_reported(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installation / "file").write_text("not a folder")
    monkeypatch.setenv("HANCLIP_OUT", str(installation / "file" / "embeddings"))
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 1
    assert "FAIL  storage" in done.stderr


def test_parameters_that_the_server_refuses_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        request = httpx.Request("POST", "http://prefect/api/deployments/1/create_flow_run")
        answer = httpx.Response(409, text="'request' is a required property", request=request)
        raise PrefectHTTPStatusError("409", request=request, response=answer)

    monkeypatch.setattr(embed, "run_deployment", refuse)
    with pytest.raises(RunError, match=r"server answered 409: 'request' is a required property\. See its log"):
        embed.check_flow(Installation("http://ray:8265", str(tmp_path / "smoke"), "backfill/prod", 1.0))
    assert not list(tmp_path.iterdir())
