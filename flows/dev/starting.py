"""Starts services of a stack and waits until they are healthy.

In: the stack's folder and state. Out: the state with the new processes. If a start fails, what it started is ended, and
services that ran before keep running.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from flows.dev import health, logs, s3, services
from flows.dev.ports import refuse_taken
from flows.dev.processes import OwnProcess, descendants, end, spawn
from flows.dev.services import Service
from flows.dev.state import Place, StackState, write_private
from pipeline.errors import RunError

_STOP_S = 20.0
#: Pauses between looks at a service that starts: longer if a look takes long, as it keeps the cores from the start.
_SHORTEST_S, _LONGEST_S, _LOOKS_PER_PAUSE = 0.2, 2.0, 4.0


@dataclass(slots=True)
class Starter:
    """Starts what does not run. `state` is saved after each process."""

    place: Place
    state: StackState
    deadline_s: float
    started: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Start the services without a process, and wait for all.

        Raises:
            RunError: a service ended or did not answer in time; the message names its log.
            ConfigError: another program has taken the port of a service.
        """
        servers = [one for one in services.servers(self.place, self.state) if self._belongs(one)]
        flows = services.flows(self.state.ports)
        try:
            for service in servers:
                self._start(service)
            for service in servers:
                self._wait(service)
            if "s3" in self.started:
                s3.make_bucket(self.state.ports.s3, self.place.secrets(), services.BUCKET)
            self._start(flows)
            self._wait(flows)
            env = services.client_env(self.place, self.state.ports)
            write_private(self.place.env_file, services.shell_lines(env))
        except BaseException:
            self._end_started()
            raise

    def _belongs(self, service: Service) -> bool:
        """Whether the stack has this service: one that was installed after its start is not in the environment."""
        return service.name in self.state.processes or not self.state.alive("flows")

    def _start(self, service: Service) -> None:
        if self.state.alive(service.name):
            return
        # Workers of a killed Ray head and the like, which hold its ports. Flows finish without their runner.
        if service.name != "flows":
            end(self._descendants(service.name), wait_s=3.0)
        if service.name == "ray":
            logs.archive(self.state.ray_folder, self.place.ray_logs)
        refuse_taken(service.ports, self.state.ports)
        log = self.place.log(service.name)
        logs.rotate(log)
        env = services.service_env(self.place, self.state, service.name)
        process = spawn(service.command, env, log, self.place.folder)
        self.started.append(service.name)
        self.state = self.state.model_copy(update={"processes": {**self.state.processes, service.name: process}})
        self.place.save(self.state)

    def _wait(self, service: Service) -> None:
        log = self.place.log(service.name)
        answers = health.checks(self.place, self.state)[service.name]
        began_s = time.monotonic()
        while not answers():
            took_s = time.monotonic() - began_s
            if not self.state.alive(service.name):
                raise RunError(f"{service.name} ended during start-up: read {log}. {self._rest()}")
            if time.monotonic() > self.deadline_s:
                raise RunError(f"{service.name} did not answer in time: read {log}. {self._rest()}")
            time.sleep(min(_LONGEST_S, max(_SHORTEST_S, _LOOKS_PER_PAUSE * took_s)))
            began_s = time.monotonic()

    def _rest(self) -> str:
        """What runs after a failed start."""
        kept = [name for name in self.state.processes if name not in self.started and self.state.alive(name)]
        if not kept:
            return "Nothing was left running."
        return f"Still running: {', '.join(kept)}. To start everything anew: hanclip dev down, then hanclip dev up."

    def _end_started(self) -> None:
        for name in reversed(self.started):
            end([self.state.processes[name]], _STOP_S)
            end(self._descendants(name), wait_s=3.0)

    def _descendants(self, name: str) -> list[OwnProcess]:
        """Processes of a service that outlive the one that the stack started."""
        known = self.state.processes.get(name)
        return descendants(str(self.place.folder), [known] if known else [], name)
