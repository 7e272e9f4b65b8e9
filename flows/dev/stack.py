"""A stack's life: up, down, and how it is. All three can be called at any time and any number of times.

In: a folder, and ports if they matter. Out: the services with their states.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.dev import health, s3, services
from flows.dev.ports import choose
from flows.dev.processes import end, marked, spawn
from flows.dev.services import Service
from flows.dev.state import Place, State, write_private
from pipeline.errors import ConfigError, RunError

START_S = 180.0
_STOP_S = 20.0
#: Who needs others ends before them.
_ENDING = ("flows", "ray", "s3", "prefect")


@dataclass(frozen=True, slots=True)
class Seen:
    """One service: `state` is healthy, starting or gone."""

    name: str
    state: str
    url: str
    log: Path
    pid: int | None


def up(folder: Path, ports: Mapping[str, int], start_s: float = START_S) -> None:
    """Start what does not run; return when all of it answers. What runs already is left alone.

    Raises:
        RunError: a service ended or did not answer in time; the message names its log, and nothing is left running.
        ConfigError: a port that was asked for is taken, or this is no Linux.
    """
    if not psutil.LINUX:
        raise ConfigError("hanclip dev runs on Linux only: use infra/compose here.")
    place = Place.at(folder)
    with place.locked():
        state = place.load()
        if state is not None and state.alive:
            return
        _end_all(place, state)
        before = state.ports if state is not None else None
        _Start(place, State(ports=choose(dict(ports), before))).run(start_s)


def down(folder: Path) -> int:
    """End every process of the stack; data, logs and ports stay. Gives how many were ended."""
    if not folder.expanduser().exists():
        return 0
    place = Place.at(folder)
    with place.locked():
        return _end_all(place, place.load())


def look(folder: Path) -> list[Seen]:
    """How each service is; none, when there was no stack in this folder yet."""
    if not folder.expanduser().exists():
        return []
    place = Place.at(folder)
    state = place.load()
    if state is None:
        return []
    answers = health.checks(place, state.ports)
    found = [*services.servers(place, state.ports), services.flows(state.ports)]
    return [_seen(place, state, service, answers[service.name]()) for service in found]


def _seen(place: Place, state: State, service: Service, answers: bool) -> Seen:
    process = state.processes.get(service.name)
    alive = process is not None and process.alive
    word = "gone" if not alive else "healthy" if answers else "starting"
    return Seen(service.name, word, service.url, place.log(service.name), process.pid if process and alive else None)


def _end_all(place: Place, state: State | None) -> int:
    known = [state.processes[name] for name in _ENDING if name in state.processes] if state else []
    ended = sum(process.alive for process in known)
    for process in known:
        end([process], _STOP_S)
    # Workers of Ray and flows outlive a parent that was killed.
    end(marked(str(place.folder)), wait_s=3.0)
    shutil.rmtree(place.ray_folder, ignore_errors=True)
    if state is not None:
        place.save(State(ports=state.ports))
    return ended


class _Start:
    """One start; whatever goes wrong, what it began is ended."""

    def __init__(self, place: Place, state: State) -> None:
        self.place = place
        self.state = state

    def run(self, start_s: float) -> None:
        deadline_s = time.monotonic() + start_s
        try:
            servers = services.servers(self.place, self.state.ports)
            for service in servers:
                self._spawn(service)
            for service in servers:
                self._wait(service, deadline_s)
            if services.weed():
                s3.make_bucket(self.state.ports.s3, self.place.secrets(), services.BUCKET)
            flows = services.flows(self.state.ports)
            self._spawn(flows)
            self._wait(flows, deadline_s)
            env = services.client_env(self.place, self.state.ports)
            write_private(self.place.env_file, services.shell_lines(env))
        except BaseException:
            _end_all(self.place, self.state)
            raise

    def _spawn(self, service: Service) -> None:
        env = services.service_env(self.place, self.state.ports)
        process = spawn(service.command, env, self.place.log(service.name), self.place.folder)
        processes = {**self.state.processes, service.name: process}
        self.state = self.state.model_copy(update={"processes": processes})
        self.place.save(self.state)

    def _wait(self, service: Service, deadline_s: float) -> None:
        log = self.place.log(service.name)
        answers = health.checks(self.place, self.state.ports)[service.name]
        while not answers():
            if not self.state.processes[service.name].alive:
                raise RunError(f"{service.name} ended while it started: read {log}. Nothing was left running.")
            if time.monotonic() > deadline_s:
                raise RunError(f"{service.name} did not answer in time: read {log}. Nothing was left running.")
            time.sleep(0.2)
