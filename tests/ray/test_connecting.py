"""Connecting to Ray as a process of its own: to a cluster without tokens, to nothing, and to a Ray that it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.places import ROOT
from tests.fixtures.processes import patience, until, using

#: Sends itself SIGTERM when Ray's C++ code has just started and just ended, and waits until Python has handled it.
SIGNALLED = """
import os, signal, sys, threading
import ray
from actors.machine.cluster import connected
from actors.stopping import StopSignal
from pipeline.config import ClusterConfig

handled = threading.Semaphore(0)
signal.signal(signal.SIGTERM, lambda *_: handled.release())

def signalled(call):
    def called(*positional, **named):
        result = call(*positional, **named)
        os.kill(os.getpid(), signal.SIGTERM)
        print(handled.acquire(timeout=60), flush=True)
        return result
    return called

def join():
    with connected(ClusterConfig(address=sys.argv[1]), StopSignal()):
        pass

ray._raylet.CoreWorker, ray.shutdown = signalled(ray._raylet.CoreWorker), signalled(ray.shutdown)
thread = threading.Thread(target=join)
thread.start()
thread.join()
"""
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def environment(home: Path, **more: str) -> Mapping[str, str]:
    """No choice of authentication, and this HOME."""
    kept = {name: value for name, value in os.environ.items() if name not in AUTHENTICATION}
    return {**kept, "HOME": str(home), **more}


def start(env: Mapping[str, str], *addresses: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tests" / "fixtures" / "joining.py"), *addresses]
    return subprocess.Popen(command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def join(env: Mapping[str, str], *addresses: str) -> list[dict[str, Any]]:
    """The lines of a process that ends well and writes nothing else."""
    printed, errors = start(env, *addresses).communicate()
    assert errors == ""
    return [json.loads(line) for line in printed.splitlines()]


def test_a_cluster_without_tokens_is_joined_from_any_home(tmp_path: Path, local_ray_address: str) -> None:
    """Also by a process that before and afterwards starts a Ray of its own, which does use a token."""
    assert join(environment(tmp_path / "empty"), local_ray_address) == [{"joined": local_ray_address}]
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("the-token-of-another-cluster-of-32-characters")
    own, joined = join(environment(tmp_path), "local", local_ray_address)
    assert (own["joined"], joined) == ("local", {"joined": local_ray_address})
    assert not Path(own["folder"]).exists()
    mistaken = environment(tmp_path, RAY_AUTH_MODE="token")
    [refused] = join(mistaken, local_ray_address)
    assert "uses no tokens" in refused["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_head_that_does_not_answer(number: signal.Signals, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = start(environment(tmp_path), f"127.0.0.1:{listening.getsockname()[1]}")
        probe, _ = listening.accept()
        connection, _ = listening.accept()
        with probe, connection:
            began_s = time.monotonic()
            process.send_signal(number)
            _, errors = process.communicate(timeout=patience(10))
    assert process.returncode in (128 + number, -number)
    assert time.monotonic() - began_s < patience(4)
    assert "Ray" not in errors


def test_a_signal_while_ray_starts_ends_it_at_once_and_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="hc-", dir="/tmp") as place:
        process = start(environment(Path(place), TMPDIR=place), "local")
        until(lambda: using(Path(place)), "Ray's first process")
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=patience(25))
        assert process.returncode == 128 + signal.SIGTERM
        # Ray's own start waits for 30 s.
        assert time.monotonic() - began_s < patience(20)
        until(lambda: not using(Path(place)), "the end of Ray's processes")
        assert list(Path(place).glob("hc-ray-*")) == []


def test_a_signal_reaches_python_although_ray_has_handlers_of_its_own(tmp_path: Path, local_ray_address: str) -> None:
    """The connection is made in a thread, as it is while a run is planned."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, local_ray_address],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nTrue\n", "")
