"""Starts a local Ray or joins a cluster, and reports its `Resources`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

from actors.crew_size import OBJECT_STORE_SHARE, Resources
from actors.machine.limits import available_memory_bytes, usable_cpus, visible_gpus
from actors.stopping import StopSignal
from pipeline.config import ClusterConfig
from pipeline.errors import RunError

_LOCAL_OBJECT_STORE_BYTES = 2 * 2**30
#: Ray sets it for the entrypoint of a job, and for nothing else.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Ray refuses less than 75 MiB.
_MIN_OBJECT_STORE_BYTES = 80 * 2**20


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


def address_of(cluster: ClusterConfig) -> str | None:
    """Address of the cluster to join: as configured, else the one that runs this process as a job; None: a local Ray.

    A `RAY_ADDRESS` set by hand is ignored: a cluster is chosen with `--address`.
    """
    if cluster.address is None and _JOB_VARIABLE in os.environ:
        return os.environ.get("RAY_ADDRESS", "auto")
    return cluster.address


@contextmanager
def connected(cluster: ClusterConfig, on_signal: Callable[[], None] = lambda: None) -> Iterator[Resources]:
    """A connection to Ray: to the cluster at `address_of(cluster)`, else to a local Ray that ends with the block.

    Args:
        cluster: which Ray.
        on_signal: called at a signal to stop, which takes effect some seconds later, when Ray has started.

    Raises:
        RunError: the cluster cannot be reached.
        SystemExit: a signal to stop arrived meanwhile.
    """
    if ray.is_initialized():
        yield cluster_resources()
        return
    address = address_of(cluster)
    # The scheduler reads the error from a failed call's report; Ray would print a traceback for its other result.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        # Ray swallows exceptions raised inside its callbacks, so Ctrl-C is recorded and checked afterwards.
        with _without_rays_handlers(), StopSignal(on_signal=on_signal) as stop:
            if address is None:
                _start_local()
            else:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(
            f"Cannot connect to Ray at {address or 'this machine'}: {error}. Check --address and, for a "
            "cluster with tokens, RAY_AUTH_MODE=token with RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."
        ) from error
    try:
        if stop.number is not None:
            raise SystemExit(128 + stop.number)
        yield cluster_resources()
    finally:
        ray.shutdown()


@contextmanager
def _without_rays_handlers() -> Iterator[None]:
    """Keep Ray from handling SIGTERM: its handlers exit with 1 or 15 and, inside a callback, not at all."""
    utils = ray._private.utils
    theirs = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs


def _start_local() -> None:
    here = local_resources()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",  # Without it, Ray would join any cluster that runs on this machine.
        num_cpus=int(here.cpus),
        num_gpus=int(here.gpus),
        object_store_memory=int(here.object_store_bytes),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def cluster_resources() -> Resources:
    """Resources of the connected cluster right now."""
    total = ray.cluster_resources()
    return Resources(
        cpus=total.get("CPU", 1.0),
        gpus=total.get("GPU", 0.0),
        memory_bytes=total.get("memory", 4 * 2**30),
        object_store_bytes=total.get("object_store_memory", 2**30),
    )
