"""Nights in fast motion on a real Prefect server: runs that are over stay over, killed ones come back once.

Scheduled flow runs as processes, busy loops that take the cores, `kill -9` of flows and once of the whole runner, and
heartbeats delivered late, twice and out of order to runs that are over. Exits with 1 if a goal is missed.

python -m benchmarks.nights --runs 60 --load 10
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.night_policy import HEARTBEAT_S
from benchmarks.reporting import Goal, Row, save
from tests.fixtures.heartbeats import WrittenRuns
from tests.fixtures.processes import environment, kill, session
from tests.fixtures.servers.postgres import Postgres, postgres_binaries
from tests.fixtures.servers.prefect import PrefectServer, Runner

_OVER = ("COMPLETED", "FAILED", "CANCELLED")
_SERVING = "from benchmarks.night_flow import serve_nights\n\nserve_nights()\n"
_LOOK_EVERY_S = 4.0


def main() -> None:
    """Run the nights, count, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="scheduled runs to begin before the schedules are paused")
    parser.add_argument("--load", type=int, default=10, help="busy loops")
    parser.add_argument("--load-s", type=float, default=180.0, help="for how many seconds they run")
    parser.add_argument("--killed", type=float, default=0.2, help="share of running flows to kill")
    parser.add_argument("--limit-s", type=float, default=540.0, help="seconds after which a run counts as lost")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    load_before, end_s = os.getloadavg()[0], time.monotonic() + given.limit_s
    with tempfile.TemporaryDirectory() as folder, _site(Path(folder)) as (server, runner):
        nights = Nights(server, runner, random.Random(given.seed), given.killed)
        with _busy(given.load, given.load_s):
            load = nights.begin(given.runs, end_s)
        nights.pause(end_s)
        nights.drain(end_s)
        rows, goals = nights.counts(given.runs)
    save("nights", load_before, goals, rows, load_average_during=load)
    sys.exit(0 if all(goal.met for goal in goals) else 1)


@contextlib.contextmanager
def _site(folder: Path) -> Iterator[tuple[PrefectServer, Runner]]:
    with contextlib.ExitStack() as stack:
        server = PrefectServer(folder)
        # By default an hour of runs is made in advance: a hundred of each deployment here.
        os.environ["PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME"] = "PT30S"
        if binaries := postgres_binaries():
            # Its own user may not enter a folder of root's.
            database = Postgres(Path(tempfile.mkdtemp(prefix="hc-postgres-")), binaries)
            stack.callback(database.stop)
            database.start()
            server.database_url = database.url
        stack.callback(server.stop)
        server.start()
        heartbeat = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
        yield server, stack.enter_context(Runner(server, folder, _SERVING, heartbeat))


@contextlib.contextmanager
def _busy(count: int, seconds: float) -> Iterator[None]:
    """Busy loops meanwhile, which end by themselves."""
    code = f"import time; end_s = time.monotonic() + {seconds}\nwhile time.monotonic() < end_s: pass"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@dataclass
class Nights:
    """The flow runs of one simulation, and what was done to them."""

    server: PrefectServer
    runner: Runner
    random: random.Random
    share: float
    deaths: Counter[str] = field(default_factory=Counter)
    _judged: set[str] = field(default_factory=set)
    _haunted: set[str] = field(default_factory=set)

    def begin(self, count: int, end_s: float) -> float:
        """Let `count` scheduled runs begin, and kill some of them; returns the highest load average."""
        load, killed_runner = 0.0, False
        while len(begun := self._begun()) < count and time.monotonic() < end_s:
            self._disturb(begun)
            if not killed_runner and len(begun) > count // 3:
                self._kill_runner()
                killed_runner = True
            load = max(load, os.getloadavg()[0])
            time.sleep(_LOOK_EVERY_S)
        return round(load, 1)

    def pause(self, end_s: float) -> None:
        """Begin no more nights once all killed ones run again: a pause deletes scheduled runs that never started."""
        while self._waiting_again() and time.monotonic() < end_s:
            time.sleep(_LOOK_EVERY_S)
        for deployment in self.server.call("POST", "/deployments/filter", {}):
            if not deployment["name"].startswith("reap"):
                self.server.call("PATCH", f"/deployments/{deployment['id']}", {"paused": True})

    def drain(self, end_s: float) -> None:
        """Wait for the end of all nights, or until `end_s`."""
        while time.monotonic() < end_s:
            begun = self._begun()
            self._haunt(begun)
            if all(run["state_type"] in _OVER for run in begun if not _watches(run)):
                break
            time.sleep(_LOOK_EVERY_S)
        # Late heartbeats of the last ones, and a look of `reap` at them.
        self._haunt(self._begun())
        time.sleep(min(60.0, max(0.0, end_s - time.monotonic())))

    def counts(self, planned: int) -> tuple[list[Row], list[Goal]]:
        """A row of counts for the nights and one for `reap`, and the goals."""
        begun = self._begun()
        histories = {run["id"]: self._states(run["id"]) for run in begun}
        of_nights = [run for run in begun if not _watches(run)]
        rows = [
            self._row("night", of_nights, histories),
            self._row("reap", [run for run in begun if _watches(run)], histories),
        ]
        both = {name: rows[0][name] + rows[1][name] for name in ("runs", "started again after their end")}
        nights = rows[0]
        deleted = len(self.deaths.keys() - {run["id"] for run in self.server.flow_runs()})
        goals = [
            Goal("scheduled runs", both["runs"], at_least=planned),
            Goal("started again after their end", both["started again after their end"], at_most=0),
            Goal("nights lost", nights["unfinished"] + deleted, at_most=0),
            Goal("nights killed", nights["killed"], at_least=5),
            Goal(
                "nights not revived exactly once for each death",
                nights["killed"] - nights["killed, revived once a death"],
                at_most=0,
            ),
            Goal("nights revived though nobody killed them", nights["revived, not killed"], at_most=0),
        ]
        return rows, goals

    def _row(self, name: str, runs: list[dict[str, Any]], histories: dict[str, list[dict[str, Any]]]) -> Row:
        revived = {run["id"]: _revivals(histories[run["id"]]) for run in runs}
        killed = [run["id"] for run in runs if self.deaths[run["id"]]]
        # A dead run of reap is not revived: the next one does its work.
        over = [run for run in runs if run["state_type"] in (*_OVER, *(["CRASHED"] if _watches(run) else []))]
        return {
            "flow": name,
            "runs": len(runs),
            "ended": len(over),
            "unfinished": len(runs) - len(over),
            "started again after their end": sum(_again(histories[run["id"]]) for run in runs),
            "killed": len(killed),
            "deaths": sum(self.deaths[run_id] for run_id in killed),
            "killed, revived once a death": sum(revived[run_id] == self.deaths[run_id] for run_id in killed),
            "revived, not killed": sum(bool(count) for run_id, count in revived.items() if not self.deaths[run_id]),
            "late heartbeats": 3 * len(self._haunted & revived.keys()),
        }

    def _begun(self) -> list[dict[str, Any]]:
        return [run for run in self.server.flow_runs() if run["state_type"] != "SCHEDULED" or run["run_count"]]

    def _waiting_again(self) -> bool:
        killed = [run for run in self.server.flow_runs() if run["id"] in self.deaths and not _watches(run)]
        return any(run["state_type"] not in ("RUNNING", *_OVER) for run in killed)

    def _states(self, flow_run_id: str) -> list[dict[str, Any]]:
        states = self.server.call("GET", f"/flow_run_states/?flow_run_id={flow_run_id}")
        return sorted(states, key=lambda state: str(state["timestamp"]))

    def _disturb(self, begun: list[dict[str, Any]]) -> None:
        """Kill some of the flows that began since the last call, each once."""
        self._haunt(begun)
        for run in begun:
            if run["state_type"] == "RUNNING" and run["id"] not in self._judged and not _watches(run):
                self._judged.add(run["id"])
                if self.random.random() < self.share and (pids := self._processes(run["id"])):
                    kill(pids)
                    # It may have ended just before.
                    if self._states(run["id"])[-1]["type"] not in _OVER:
                        self.deaths[run["id"]] += 1

    def _kill_runner(self) -> None:
        """SIGKILL the runner with all its flows, and start another."""
        self.runner.kill()
        dead = [run["id"] for run in self._begun() if run["state_type"] in ("RUNNING", "PENDING")]
        self.deaths.update(dead)
        self.runner.start()

    def _processes(self, flow_run_id: str) -> list[int]:
        assert self.runner.process
        own = session(self.runner.process.pid)
        return [pid for pid in own if environment(pid).get("PREFECT__FLOW_RUN_ID") == flow_run_id]

    def _haunt(self, begun: list[dict[str, Any]]) -> None:
        """Deliver heartbeats of runs that are over: late, out of order, and one of them twice."""
        for run in begun:
            if run["state_type"] in _OVER and run["id"] not in self._haunted:
                self._haunted.add(run["id"])
                event_id = str(uuid4())
                for late_s, one in ((1.0, event_id), (20.0, ""), (1.0, event_id)):
                    WrittenRuns(self.server).beat(run["id"], late_s=late_s, event_id=one)


def _watches(run: dict[str, Any]) -> bool:
    return "seconds" not in run["parameters"]


def _revivals(states: list[dict[str, Any]]) -> int:
    return sum((state["message"] or "").startswith("Revival ") for state in states)


def _again(states: list[dict[str, Any]]) -> bool:
    ends = [number for number, state in enumerate(states) if state["type"] in _OVER]
    return bool(ends) and any(state["type"] not in _OVER for state in states[ends[0] :])


if __name__ == "__main__":
    main()
