"""The scripts use the environment that VENV names, and an example ends where it cannot make its folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.fixtures.places import ROOT


def test_every_script_uses_the_environment_that_venv_names() -> None:
    """`scripts/install` does, so that a script with a name of its own would not find what was installed."""
    other = {
        path.name: found
        for path in [*Path(ROOT, "scripts").iterdir(), Path(ROOT, "examples", "environment")]
        if (found := re.findall(r"\.venv/\S*", path.read_text(encoding="utf-8")))
    }
    assert other == {}


def test_an_example_without_its_folder_does_nothing_where_it_was_started(tmp_path: Path) -> None:
    hanclip = tmp_path / "bin" / "hanclip"
    hanclip.parent.mkdir()
    hanclip.touch(mode=0o755)
    (tmp_path / "taken").touch()
    script = tmp_path / "run"
    script.write_text(f'set -euo pipefail\nsource "{ROOT}/examples/environment" taken/results embed\necho reached\n')
    environment = {**os.environ, "PATH": f"{hanclip.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "taken" in done.stderr


_PYTHON = """#!/bin/sh
case $1 in
    --version) echo Python 3.11 ;;
    -m) echo "called: $*"; exit 3 ;;
esac
"""


def test_the_path_of_a_python_may_have_spaces(tmp_path: Path) -> None:
    python, venv = tmp_path / "a folder" / "python", tmp_path / "an environment"
    python.parent.mkdir()
    python.write_text(_PYTHON)
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "VENV": str(venv)}
    command = [ROOT / "scripts" / "install", "embed"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, f"called: -m venv {venv}\n"), done.stderr


def test_the_demo_runs_in_an_environment_with_a_whole_path(tmp_path: Path) -> None:
    venv = tmp_path / "environment"
    for folder in ("bin", "installed"):
        (venv / folder).mkdir(parents=True)
    for name in ("pip", "hanclip"):
        (venv / "bin" / name).write_text('#!/bin/sh\necho "called: $*"\n')
        (venv / "bin" / name).chmod(0o755)
    (venv / "bin" / "python").symlink_to(sys.executable)
    needed = (ROOT / "constraints.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    (venv / "installed" / "embed").write_text(f"{sha256(needed).hexdigest()}\n")
    command, environment = [ROOT / "scripts" / "demo", "out"], {**os.environ, "VENV": str(venv)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "called: demo out\n"), done.stderr
