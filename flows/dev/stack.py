"""Starts, stops and inspects a stack; each can be called at any time and repeatedly.

In: a folder, and optionally ports. Out: the services with their states.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.dev import health, logs, s3, services
from flows.dev.ports import choose, refuse_others
from flows.dev.processes import descendants, end
from flows.dev.services import Service
from flows.dev.starting import Starter
from flows.dev.state import Place, StackState, usable, write_private
from pipeline.errors import ConfigError

START_S = 180.0
_STOP_S = 20.0
#: Services end before those that they depend on.
_ENDING = ("flows", "ray", "s3", "prefect")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service: `state` is healthy, silent (its process runs and does not answer) or gone."""

    name: str
    state: str
    url: str
    log: Path
    pid: int | None


def up(folder: Path, ports: Mapping[str, int], start_s: float = START_S) -> None:
    """Start every service that has no process, and return when all are healthy; the others keep running.

    Raises:
        RunError: a service ended or did not answer in time; the message names its log. What was started is ended.
            Or the stack's folder cannot be written.
        ConfigError: a requested port is taken, or the stack runs with another one, or this is not Linux.
    """
    if not psutil.LINUX:
        raise ConfigError("hanclip dev runs on Linux only: use infra/compose here.")
    deadline_s = time.monotonic() + start_s
    with usable(folder):
        place = Place.at(folder)
        with place.locked():
            state = place.load()
            if state is not None and any(map(state.alive, state.processes)):
                refuse_others(dict(ports), state.ports)
                Starter(place, state, deadline_s).run()
            else:
                _start_all(place, state, ports, deadline_s)


def down(folder: Path) -> int:
    """End every process of the stack and remove its temporary files. Returns how many services were ended.

    Raises:
        RunError: the stack's folder cannot be written. Every process is ended nevertheless.
    """
    if not folder.expanduser().exists():
        return 0
    with usable(folder):
        place = Place.at(folder)
        with place.locked():
            return _end_all(place, place.load())


def inspect(folder: Path) -> list[ServiceStatus]:
    """The status of each service; empty if there has been no stack in this folder."""
    place = Place.find(folder)
    with usable(folder):
        state = place.load()
        if state is None:
            return []
        answers = health.checks(place, state)
        found = [*services.servers(place, state), services.flows(state.ports)]
        return [_status(place, state, service, answers[service.name]()) for service in found]


def _start_all(place: Place, state: StackState | None, ports: Mapping[str, int], deadline_s: float) -> None:
    _end_all(place, state)
    scratch = place.scratch()
    place.check_space(scratch)
    fresh = StackState(ports=choose(dict(ports), state.ports if state else None), scratch=scratch)
    fresh.temp_folder.mkdir(exist_ok=True)
    starter = Starter(place, fresh, deadline_s)
    try:
        starter.run()
    except BaseException:
        _end_all(place, starter.state)
        raise


def _status(place: Place, state: StackState, service: Service, answers: bool) -> ServiceStatus:
    pid = state.processes[service.name].pid if state.alive(service.name) else None
    word = "gone" if pid is None else "healthy" if answers else "silent"
    return ServiceStatus(service.name, word, service.url, place.log(service.name), pid)


def _end_all(place: Place, state: StackState | None) -> int:
    known = [state.processes[name] for name in _ENDING if name in state.processes] if state else []
    ended = sum(process.alive for process in known)
    listed = health.jobs(place, state.ports) if state and state.alive("ray") else None
    for process in known:
        end([process], _STOP_S)
    # Ray workers, Ray's agents and flows outlive a killed parent.
    end(descendants(str(place.folder), known), wait_s=3.0)
    if state is not None:
        _clean(place, state, listed)
    return ended


def _clean(place: Place, state: StackState, jobs: object) -> None:
    """Keep the logs of Ray and the list of its jobs, and remove everything else outside the stack's folder."""
    s3.remove_sockets(place.folder / "s3", state.ports.s3)
    if jobs is not None:
        write_private(state.ray_folder / logs.JOBS, json.dumps(jobs))
    logs.archive(state.ray_folder, place.ray_logs)
    shutil.rmtree(state.scratch, ignore_errors=True)
    place.save(StackState(ports=state.ports, scratch=state.scratch))
