"""Starts a Ray on this machine that ends with the block.

Ray gives its node 30 seconds to start, which a loaded machine exceeds: here it is waited for, and a failed start is
tried again. A signal ends the start at once.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import ray
from ray._private import services

from actors.crew_size import OBJECT_STORE_SHARE, Resources
from actors.machine.authentication import for_local_ray
from actors.machine.interruptible import interruptible
from actors.machine.limits import available_memory_bytes, usable_cpus, visible_gpus
from actors.machine.local.processes import (
    end_with_process,
    fewer_processes,
    is_starting,
    kill,
    needs_agents,
    processes,
    refusing_port,
    without_agents,
)
from actors.machine.local.ray_folder import RayFolder, make_ray_folder
from actors.machine.starting import abandon, shut_down, subdued_ray
from actors.stopping import StopSignal
from pipeline.errors import RunError

logger = logging.getLogger(__name__)

_LOCAL_OBJECT_STORE_BYTES = 2 * 2**30
#: Ray refuses less than 75 MiB.
_MIN_OBJECT_STORE_BYTES = 80 * 2**20
_ATTEMPTS = 3
#: Time for a node to register; Ray's own limit is 30 s.
_NODE_S = 180.0
_START_S = 300.0
_POLL_S = 0.5
_CHECK_S = 1.0
#: Of Ray's processes. The two limits in seconds are four times Ray's own, for a machine that is busy.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "240",
    "RAY_enable_metrics_collection": "0",
    # Idle workers that Ray starts ahead would have to be started again for hanclip's actors.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
_CURE = "The machine may be overloaded, or out of memory or disk space: run the same command again when it is not."


def local_resources() -> Resources:
    """Resources of this machine, as a local Ray would offer them."""
    memory_bytes = available_memory_bytes()
    store_bytes = min(_LOCAL_OBJECT_STORE_BYTES, int(memory_bytes * OBJECT_STORE_SHARE))
    return Resources(
        cpus=max(1.0, usable_cpus()),
        gpus=visible_gpus(),
        memory_bytes=memory_bytes - store_bytes,
        object_store_bytes=max(_MIN_OBJECT_STORE_BYTES, store_bytes),
    )


@contextmanager
def local_ray(stop: StopSignal) -> Iterator[RayFolder]:
    """A Ray on this machine; `stop` ends its start.

    Raises:
        RunError: it does not start.
        SystemExit: a signal arrived meanwhile.
    """
    with ExitStack() as stack:
        folder = make_ray_folder()
        stack.callback(folder.remove)
        stack.enter_context(for_local_ray())
        agents = _agents(stack.enter_context(refusing_port()))
        with stop:
            ended = threading.Event()
            stack.callback(ended.set)
            start(partial(_init, folder, agents), shut_down, folder, stop, ended)
            stack.callback(shut_down)
        stop.raise_if_stopped()
        yield folder


def _agents(port: int) -> Iterator[AbstractContextManager[None]]:
    """For each attempt, a context that decides whether Ray's agents start; `port` stands in for those that do not."""
    # Should an attempt fail, the next starts the agents, in case another version of Ray insists on them.
    return chain([] if needs_agents() else [without_agents(port)], repeat(nullcontext()))


def _init(folder: RayFolder, agents: Iterator[AbstractContextManager[None]]) -> None:
    here = local_resources()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with next(agents):
        ray.init(
            address="local",  # Without it, Ray would join any cluster that runs on this machine.
            num_cpus=int(here.cpus),
            num_gpus=int(here.gpus),
            object_store_memory=int(here.object_store_bytes),
            object_spilling_directory=str(folder.spill) if folder.spill else None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder.path),
        )


def start(
    init: Callable[[], None], reset: Callable[[], None], folder: RayFolder, stop: StopSignal, ended: threading.Event
) -> None:
    """Call `init` until it succeeds.

    Args:
        init: starts Ray. Its thread lives until `ended`, since Ray's processes die with it.
        reset: makes another `init` possible after one that raised.
        folder: of this Ray.
        stop: records signals.
        ended: set when Ray is no longer needed.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with subdued_ray(), _patience(folder.path), fewer_processes():
                return interruptible(init, stop, _START_S, ended, _HeadAlive(folder.path))
        except SystemExit:
            abandon()
            if started := list(processes(folder.path)):
                end_with_process(folder.path, started, 128 + (stop.number or signal.SIGTERM))
            else:
                kill(folder.path)
            raise
        except RunError:
            abandon()
            kill(folder.path)
            raise
        except TimeoutError as error:
            abandon()
            kill(folder.path)
            raise RunError(f"Ray did not start within {_START_S:g} s. {_CURE}{_logs(folder)}") from error
        except Exception as error:  # Ray raises bare exceptions, too.
            kill(folder.path)
            reset()
            if attempt == _ATTEMPTS or _is_final(error):
                raise RunError(f"Ray cannot start on this machine: {error} {_CURE}{_logs(folder)}") from error
            logger.warning("Ray did not start (attempt %d of %d): %s", attempt, _ATTEMPTS, error)
    raise AssertionError("the last attempt returns or raises")


class _HeadAlive:
    """Raises a RunError when Ray's head process has died during the start: Ray would wait a minute, then exit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = False
        self._checked_s = 0.0

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s - self._checked_s < _CHECK_S:
            return
        self._checked_s = now_s
        runs = any("gcs_server" in command for command in processes(self._path).values())
        if self._seen and not runs:
            raise RunError(f"Ray's head process was killed while it started, perhaps for lack of memory. {_CURE}")
        self._seen |= runs


def _is_final(error: Exception) -> bool:
    """Whether the next attempt would fail, too."""
    return isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


def _logs(folder: RayFolder) -> str:
    return f" Ray's logs are in {folder.keep_logs()}."


@contextmanager
def _patience(path: Path) -> Iterator[None]:
    """Let Ray wait longer for its node: it looks up the node for 30 s, so each look-up takes as long as needed."""
    look_up = services.get_node

    def wait(*arguments: Any) -> Any:
        end_s = time.monotonic() + _NODE_S
        while True:
            try:
                return look_up(*arguments)
            except RuntimeError:
                if time.monotonic() > end_s or not is_starting(path):
                    raise
            time.sleep(_POLL_S)

    services.get_node = wait
    try:
        yield
    finally:
        services.get_node = look_up
