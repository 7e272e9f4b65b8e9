"""Joining a cluster that requires a token, without RAY_AUTH_MODE: the cluster decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fixtures.places import ROOT
from tests.fixtures.servers.ray_head import RayHead


def join(head: RayHead, home: Path, token: str) -> dict[str, Any]:
    """What a process with this token answers."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    env |= {"HOME": str(home), "RAY_AUTH_TOKEN": token}
    command = [sys.executable, str(ROOT / "tests" / "fixtures" / "joining.py"), head.address]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    line: dict[str, Any] = json.loads(done.stdout)
    return line


def test_the_token_of_the_cluster_is_enough_and_another_is_named(ray_head: RayHead, tmp_path: Path) -> None:
    assert join(ray_head, tmp_path, ray_head.token) == {"joined": ray_head.address}
    assert "refuses the token" in join(ray_head, tmp_path, "another-token-of-more-than-32-characters")["error"]
