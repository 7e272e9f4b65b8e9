"""Starts, stops and inspects a stack; each can be called at any time and repeatedly.

In: a folder, and optionally ports. Out: the services with their states.
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
from flows.dev.state import Place, StackState, write_private
from pipeline.errors import ConfigError, RunError

START_S = 180.0
_STOP_S = 20.0
#: Services end before those that they depend on.
_ENDING = ("flows", "ray", "s3", "prefect")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service: `state` is healthy, starting or gone."""

    name: str
    state: str
    url: str
    log: Path
    pid: int | None


def up(folder: Path, ports: Mapping[str, int], start_s: float = START_S) -> None:
    """Start the stack and return when every service is healthy; does nothing if all its processes run.

    Raises:
        RunError: a service ended or did not answer in time; the message names its log, and nothing is left running.
        ConfigError: a requested port is taken, or this is not Linux.
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
        _Start(place, StackState(ports=choose(dict(ports), before))).run(start_s)


def down(folder: Path) -> int:
    """End every process of the stack; data, logs and ports are kept. Returns how many were ended."""
    if not folder.expanduser().exists():
        return 0
    place = Place.at(folder)
    with place.locked():
        return _end_all(place, place.load())


def inspect(folder: Path) -> list[ServiceStatus]:
    """The status of each service; empty if there has been no stack in this folder."""
    if not folder.expanduser().exists():
        return []
    place = Place.at(folder)
    state = place.load()
    if state is None:
        return []
    answers = health.checks(place, state.ports)
    found = [*services.servers(place, state.ports), services.flows(state.ports)]
    return [_status(place, state, service, answers[service.name]()) for service in found]


def _status(place: Place, state: StackState, service: Service, answers: bool) -> ServiceStatus:
    process = state.processes.get(service.name)
    pid = process.pid if process is not None and process.alive else None
    word = "gone" if pid is None else "healthy" if answers else "starting"
    return ServiceStatus(service.name, word, service.url, place.log(service.name), pid)


def _end_all(place: Place, state: StackState | None) -> int:
    known = [state.processes[name] for name in _ENDING if name in state.processes] if state else []
    ended = sum(process.alive for process in known)
    for process in known:
        end([process], _STOP_S)
    # Ray workers and flows outlive a killed parent.
    end(marked(str(place.folder)), wait_s=3.0)
    shutil.rmtree(place.ray_folder, ignore_errors=True)
    if state is not None:
        place.save(StackState(ports=state.ports))
    return ended


class _Start:
    """One start; if it fails, everything that it started is ended."""

    def __init__(self, place: Place, state: StackState) -> None:
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
                raise RunError(f"{service.name} ended during start-up: read {log}. Nothing was left running.")
            if time.monotonic() > deadline_s:
                raise RunError(f"{service.name} did not answer in time: read {log}. Nothing was left running.")
            time.sleep(0.2)
