"""`hanclip` as processes of their own: started like a user starts them, watched by their JSON lines, ended by pid.

    with Drivers(place) as drivers:
        driver = drivers.start("embed", "photos", "out", "--model", "demo")
        driver.until(lambda: committed("out"))
        driver.kill("ray::Decoder")
        summary = driver.finish()

Each starts a Ray of its own, or joins the one of the tests (`Drivers(place, address=...)`), which is quicker. At the
end of the block every process of every session and every actor must be gone: what a driver starts, dies with it. Ray's
two agents of a node may outlive a killed driver by a minute, which they spend on asking for their dead head;
`assert_agents_gone` waits for them once, after the last test.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import duckdb
import pytest

from flows.cli import main

HANCLIP = str(Path(sys.executable).with_name("hanclip"))
#: Generous: the machine may be busy, and a test that waits for an event fails at once when its driver ends.
DEADLINE_S = 240.0
_GONE_S = 60.0
_AGENTS_GONE_S = 150.0
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
_ACTORS = ("ray::Decoder", "ray::Embedder", "ray::Writer")
#: One of each keeps a run as short as it can be on two cores; what is tested does not depend on their number.
_CREW = ("--decoders", "1", "--embedders", "1")
_LOOKS = ("status", "verify")
_killed: list[int] = []


class Driver:
    """One command in a session of its own, its JSON lines in `events` as they come."""

    def __init__(self, argv: tuple[str, ...], place: Path, env: Mapping[str, str]) -> None:
        self.argv = argv
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [HANCLIP, *argv, "--json"],
            cwd=place,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            start_new_session=True,
        )
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def processes(self) -> dict[int, str]:
        """Title by pid of every living process of the session, the driver itself included, and the tests' actors."""
        return session(self.process.pid) | shared_actors()

    def reached(self, state: str) -> bool:
        """Whether a progress line told this state."""
        return any(event.get("state") == state for event in list(self.events))

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until `condition()` is true; returns what it gave. Fails when the driver ends before."""
        began_s = looked_s = time.monotonic()
        while not (found := condition()):
            assert self.process.poll() is None, f"{self.argv} ended with {self.process.returncode}: {self.stderr()}"
            now_s = time.monotonic()
            assert now_s < began_s + DEADLINE_S, f"{self.argv} waited in vain; last line: {self.events[-1:]}"
            # A look that lists a bucket or all processes must not keep the cores from what it waits for.
            time.sleep(max(0.005, 4 * (now_s - looked_s)))
            looked_s = time.monotonic()
        return found

    def kill(self, title: str) -> int:
        """SIGKILL the first process of the session whose title starts so, as soon as there is one; gives its pid."""
        pid = self.until(lambda: next((pid for pid, is_ in self.processes().items() if is_.startswith(title)), None))
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def end(self, number: int = signal.SIGKILL) -> int:
        """Signal the driver alone and wait for its end; gives the exit code."""
        os.kill(self.process.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; gives the exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def finish(self, code: int = 0) -> dict[str, Any]:
        """Wait for the end, which must have this exit code; gives the last line."""
        assert self.wait() == code, self.stderr()
        return self.events[-1]

    def stderr(self) -> str:
        """What the driver wrote there so far."""
        self._stderr.seek(0)
        return self._stderr.read()


class Drivers:
    """Starts drivers in the folder `place`, with `env` on top of this process's environment.

    With `address`, runs join the Ray there, which this process must have started.
    """

    def __init__(self, place: Path, env: Mapping[str, str] | None = None, address: str | None = None) -> None:
        self._place = place
        self._options = (*_CREW, "--address", address) if address else _CREW
        # Ray's socket paths are limited to 107 characters, which the folders of a test runner exceed.
        self._ray_folder = tempfile.mkdtemp(prefix="hc-", dir="/tmp")
        self.env = {**os.environ, "RAY_TMPDIR": self._ray_folder, **(env or {})}
        self._started: list[Driver] = []

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> Driver:
        """Start `hanclip ARGV --json`."""
        if argv[0] in ("embed", "retry"):
            argv = (argv[0], *self._options, *argv[1:])  # a test's own options come later and win
        driver = Driver(argv, self._place, {**self.env, **(env or {})})
        self._started.append(driver)
        return driver

    def run(self, *argv: str, code: int = 0, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Start it and wait for its end, which must have this exit code; gives its last line.

        What only looks at a dataset is done in this process, which has loaded all that takes.
        """
        return self._look(argv, code) if argv[0] in _LOOKS else self.start(*argv, env=env).finish(code)

    def _look(self, argv: tuple[str, ...], code: int) -> dict[str, Any]:
        said = io.StringIO()
        with contextlib.chdir(self._place), contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
            main([*argv, "--json"])
        assert (ended.value.code or 0) == code, said.getvalue()
        told: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        left = self._left_behind(0.0 if kind else _GONE_S)
        for pid in left:
            _kill(pid)
        for driver in self._started:
            if driver.wait() == -signal.SIGKILL:
                _killed.append(driver.process.pid)
        shutil.rmtree(self._ray_folder, ignore_errors=True)
        assert kind or not left, f"left behind: {left}"

    def _left_behind(self, patience_s: float) -> dict[int, str]:
        def left() -> dict[int, str]:
            found = {pid: title for driver in self._started for pid, title in driver.processes().items()}
            killed = any(driver.process.poll() == -signal.SIGKILL for driver in self._started)
            return {pid: title for pid, title in found.items() if not (killed and title in _AGENTS)}

        return _until_empty(left, patience_s)


def assert_agents_gone() -> None:
    """The agents of killed drivers end by themselves."""
    left = _until_empty(lambda: {p: t for leader in _killed for p, t in session(leader).items()}, _AGENTS_GONE_S)
    _killed.clear()
    for pid in left:
        _kill(pid)
    assert not left, f"left behind: {left}"


def _until_empty(look: Callable[[], dict[int, str]], patience_s: float) -> dict[int, str]:
    end_s = time.monotonic() + patience_s
    while (found := look()) and time.monotonic() < end_s:
        time.sleep(0.05)
    return found


def session(leader: int) -> dict[int, str]:
    """Title by pid of the living processes of a session. A child stays in it when its parent dies."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session_id = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session_id) == leader and state != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()[:80]
        except (OSError, ValueError):
            continue  # It ended meanwhile.
    return found


def shared_actors() -> dict[int, str]:
    """Title by pid of the actors on the Ray that this process started; workers are children of its raylet."""
    found, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (OSError, ValueError):
            continue  # It ended meanwhile.
        if title.startswith(_ACTORS):
            found[int(folder.name)] = title[:80]
    return {pid: title for pid, title in found.items() if parents.get(parents.get(pid, 0)) == os.getpid()}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def committed(out: Path) -> int:
    """Shards that are committed."""
    return len(list(out.glob("embeddings/*/*.parquet")))


def rows_visible(out: Path) -> int:
    """Rows that a reader of `OUT/embeddings/**/*.parquet` sees; none of them twice, every file a committed shard."""
    pattern = f"{out}/embeddings/**/*.parquet"
    files = duckdb.sql(f"SELECT file FROM glob('{pattern}') WHERE NOT regexp_matches(file, '/[0-9a-f]{{32}}.parquet$')")
    assert files.fetchall() == []
    if not committed(out):
        return 0
    (found,) = duckdb.sql(f"SELECT count(*), count(DISTINCT id), count(image_embedding) FROM '{pattern}'").fetchall()
    assert len(set(found)) == 1, found
    return int(found[0])


def assert_adds_up(drivers: Drivers, out: str, planned: int, quarantined: int = 0) -> None:
    """`hanclip verify`: every planned record has one outcome, and nothing is corrupt."""
    report = drivers.run("verify", out)
    counts = {
        name: report[name] for name in ("planned", "embedded", "quarantined", "missing", "duplicated", "unplanned")
    }
    assert counts == {
        "planned": planned,
        "embedded": planned - quarantined,
        "quarantined": quarantined,
        "missing": 0,
        "duplicated": 0,
        "unplanned": 0,
    }
    assert (report["ok"], report["complete"], report["problems"]) == (True, True, [])
