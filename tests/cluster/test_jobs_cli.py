"""`hanclip submit` and `hanclip jobs` on a Ray head with tokens, from the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.jobs.target import TargetConfig
from flows.options.target import build_target
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError
from tests.fixtures import toy_driver
from tests.fixtures.driving import HANCLIP
from tests.fixtures.pictures import write_folder
from tests.fixtures.processes import patience
from tests.fixtures.servers.ray_head import RayHead
from tests.fixtures.servers.tcp_proxy import Proxy

#: A value other than the default for every option of the target.
GIVEN: dict[str, object] = {
    "backend": "ray",
    "jobs_address": "http://head:8265",
    "jobs_page": "https://ray.example.com",
    "namespace": "vision",
    "rayjob_template": "rayjob.yaml",
    "python": "/opt/python",
    "max_attempts": 5,
    "lost_after_s": 1.0,
    "pending_timeout_s": 2.0,
    "stop_wait_s": 3.0,
    "poll_s": 4.0,
    "job_timeout_s": 5.0,
}


@pytest.fixture
def where(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options that name the cluster."""
    for name, value in ray_head.client_env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    return ["--jobs-address", ray_head.dashboard]


def hanclip(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_submit_embeds_on_the_cluster_once_per_job_name(
    where: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos, out = str(write_folder(tmp_path / "photos", 8)), str(tmp_path / "out")
    command = ["submit", photos, out, "--model", "demo", *where, "--python", sys.executable, "--poll-s", "1"]
    code, printed, errors = hanclip(capfd, *command, "--job-name", "November", "--embedders", "1", "--decoders", "1")
    assert code == 0, errors
    job_id = printed.splitlines()[0]
    assert job_id.startswith("submit-")
    assert job_id.endswith("-november-a1")
    assert "8 = 8 embedded + 0 quarantined" in printed
    assert "complete" in errors, "the driver's log is passed on"
    assert Dataset.open(out).embeddings(["id"]).count_rows() == 8
    code, printed, _ = hanclip(
        capfd, *command, "--job-name", "November", "--embedders", "1", "--decoders", "1", "--json"
    )
    assert (code, events(printed)[0]["job_id"], events(printed)[0]["state"]) == (0, job_id, "SUCCEEDED")
    assert events(printed)[-1]["runs"][0]["summary"]["rows_planned"] == 8
    code, printed, _ = hanclip(capfd, "jobs", "list", *where, "--json")
    (job,) = [job for job in events(printed) if job["job_id"] == job_id]
    assert (job["state"], job["metadata"]["out"]) == ("SUCCEEDED", out)
    assert job_id in hanclip(capfd, "jobs", "list", *where)[1]
    code, printed, _ = hanclip(capfd, "jobs", "logs", job_id, "--follow", *where)
    assert (code, "8 = 8 embedded" in printed) == (0, True)
    assert hanclip(capfd, "jobs", "stop", job_id, *where) == (0, f"{job_id} SUCCEEDED\n", "")


def test_a_job_outlives_its_follower_and_is_stopped_by_name(
    where: list[str], ray_head: RayHead, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["submit", str(tmp_path / "sleep"), str(tmp_path / "out"), *where]
    command += ["--python", toy_driver.interpreter(tmp_path), "--job-name", "long", "--poll-s", "1"]
    with subprocess.Popen([HANCLIP, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        job_id = process.stdout.readline().strip()
        lines: list[str] = []
        while "row 2" not in "".join(lines):
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        process.send_signal(signal.SIGINT)
        assert f"The job keeps running. Stop it with: hanclip jobs stop {job_id}" in process.stderr.read()
        assert process.wait(patience(30)) == 130
    assert hanclip(capfd, *command, "--detach")[:2] == (0, f"{job_id}\n")
    assert hanclip(capfd, "jobs", "stop", job_id, *where, "--stop-wait-s", "10")[1] == f"{job_id} STOPPED\n"
    code, printed, errors = hanclip(capfd, "jobs", "stop", "submit-no-such-a1", *where)
    assert (code, printed) == (2, "")
    assert "hanclip jobs list" in errors


def test_an_unusable_cluster_is_an_immediate_error_with_a_cure(
    where: list[str], ray_head: RayHead, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    proxy = Proxy(ray_head.dashboard)
    proxy.set_mode("refuse")
    submit = ["submit", str(tmp_path), str(tmp_path / "out")]
    code, printed, errors = hanclip(capfd, *submit, "--jobs-address", proxy.url)
    assert (code, printed) == (1, "")
    assert f"No answer from {proxy.url}" in errors
    assert "Check the address" in errors
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, errors = hanclip(capfd, *submit, *where)
    assert (code, "RAY_AUTH_TOKEN_PATH" in errors) == (1, True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "one-that-this-cluster-has-never-seen")
    code, _, errors = hanclip(capfd, "jobs", "list", *where)
    assert (code, "refuses the credentials (403" in errors, "never-seen" in errors) == (1, True, False)
    code, _, errors = hanclip(capfd, *submit, "--detach")
    assert (code, "--jobs-address" in errors) == (2, True)
    assert not (tmp_path / "out").exists()
    proxy.close()


def test_every_field_of_the_target_is_an_option() -> None:
    assert len(GIVEN) == len(TargetConfig.model_fields)
    target = build_target(GIVEN)
    assert all(getattr(target, name) != info.default for name, info in TargetConfig.model_fields.items())
    assert build_target({"jobs_address": "http://head:8265"}).backend == "ray"
    assert build_target({"rayjob_template": "rayjob.yaml"}).backend == "kuberay"
    with pytest.raises(ConfigError, match=r"address: .*http://"):
        build_target({"jobs_address": "head:8265"})
    with pytest.raises(ConfigError, match="a user or a password") as caught:
        build_target({"jobs_address": "http://me:secret@head:8265"})
    assert "secret" not in str(caught.value)
