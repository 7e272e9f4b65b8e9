"""Connects to a cluster or to a local Ray, and reports its `Resources`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import ray
from ray._private import services

from actors.crew_size import CPU_ONLY, Resources
from actors.machine import authentication
from actors.machine.head import ASK_S, accepts
from actors.machine.head_watch import HeadWatch, head_watched
from actors.machine.interruptible import interruptible
from actors.machine.local.local_ray import local_ray
from actors.machine.local.ray_folder import RayFolder
from actors.machine.starting import abandon, quiet_ray, shut_down, subdued_ray
from actors.nodes.watch import EVERY_S, LOCAL_EVERY_S, ClusterState, NodeWatch, cluster_state, nodes_watched
from actors.scheduler.failures import ray_errors_translated
from actors.stopping import StopSignal
from pipeline.config import ClusterConfig
from pipeline.errors import RunError

#: Ray sets it for the entrypoint of a job, and for nothing else.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: A head that answers is joined within seconds; Ray gives up after a minute if no node of the cluster runs here.
_JOIN_S = 90.0
_SEARCH_S = 10.0
_LOOK = "Look at `ray status` on its head, and compare the versions of Ray and Python."


def address_of(cluster: ClusterConfig) -> str | None:
    """Address of the cluster to join: as configured, else the one that runs this process as a job; None: a local Ray.

    A `RAY_ADDRESS` set by hand is ignored: a cluster is chosen with `--address`.
    """
    if cluster.address is None and _JOB_VARIABLE in os.environ:
        return os.environ.get("RAY_ADDRESS", "auto")
    return None if cluster.address == "local" else cluster.address


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection to Ray.

    Attributes:
        nodes: the nodes of the cluster, looked at again and again.
        folder: of a local Ray which ends with the connection.
        watch: over the head; None if the connection is someone else's.
    """

    nodes: NodeWatch
    folder: RayFolder | None = None
    watch: HeadWatch | None = None

    @property
    def resources(self) -> Resources:
        """Of the cluster right now. Raises RunError if its head does not answer."""
        return resources_of(cluster_now())

    @property
    def answers(self) -> bool:
        """Whether the head answered the last time that it was asked."""
        return self.watch is None or self.watch.answers

    @property
    def lost(self) -> bool:
        """Whether the head has not answered for long."""
        return self.watch is not None and self.watch.lost

    def require_head(self) -> None:
        """Raise a RunError if the head has not answered for long."""
        if self.watch is not None:
            self.watch.require()

    def keep_logs(self) -> str:
        """Keep the logs of a local Ray; returns a sentence that says where, to be appended to an error."""
        return f" Ray's logs of this run are in {self.folder.keep_logs()}." if self.folder else ""


@contextmanager
def connected(cluster: ClusterConfig, stop: StopSignal | None = None) -> Iterator[Connection]:
    """A connection to the cluster at `address_of(cluster)`, else to a local Ray that ends with the block.

    Args:
        cluster: the user's settings.
        stop: ends the start of a local Ray; for another thread than the main one, which alone receives signals.

    Raises:
        RunError: the cluster cannot be joined, or Ray cannot start here.
        SystemExit: a signal to stop arrived meanwhile.
    """
    if ray.is_initialized():
        with nodes_watched() as nodes:
            yield Connection(nodes)
        return
    # The scheduler reads the error from a failed call's report; Ray would print a traceback for its other result.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    address = address_of(cluster)
    with (
        local_ray(stop or StopSignal()) if address is None else _joined(address) as folder,
        head_watched(str(ray.get_runtime_context().gcs_address)) as watch,
        quiet_ray(),
        nodes_watched(LOCAL_EVERY_S if address is None else EVERY_S) as nodes,
    ):
        yield Connection(nodes, folder, watch)


@contextmanager
def _joined(address: str) -> Iterator[None]:
    with ExitStack() as stack:
        with StopSignal() as stop:
            found = _resolved(address)
            stack.enter_context(authentication.for_cluster(found, partial(_accepts, found, stop)))
            _join(found, stop)
            stack.callback(shut_down)
        stop.raise_if_stopped()
        yield


def _accepts(address: str, stop: StopSignal, token: str) -> bool:
    try:
        return interruptible(partial(accepts, address, token), stop, ASK_S)
    except TimeoutError as error:
        raise RunError(f"Cannot connect to Ray at {address}: {error}. Does this machine resolve the name?") from error


def _resolved(address: str) -> str:
    """HOST:PORT of the head; `auto` is the cluster that runs on this machine."""
    if address != "auto":
        return address
    try:
        return str(services.canonicalize_bootstrap_address_or_die(address))
    except (ConnectionError, ValueError) as error:
        raise RunError(f"No single Ray cluster runs on this machine: give --address HOST:PORT. {error}") from error


def _join(address: str, stop: StopSignal) -> None:
    """Make this process a driver of the cluster.

    Raises:
        RunError: Ray cannot connect, although the head answers.
        SystemExit: a signal arrived meanwhile.
    """
    _require_node(address, stop)
    init = partial(ray.init, address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with subdued_ray():
            interruptible(init, stop, _JOIN_S)
    except SystemExit:
        abandon()
        raise
    except TimeoutError as error:
        abandon()
        raise RunError(f"The Ray cluster at {address} answers, but cannot be joined: {error}. {_LOOK}") from error
    except Exception as error:  # Ray raises bare exceptions, too.
        shut_down()
        raise RunError(f"The Ray cluster at {address} answers, but cannot be joined: {error} {_LOOK}") from error


def _require_node(address: str, stop: StopSignal) -> None:
    """Fail early if no node of a cluster runs on this machine, since a driver needs one; Ray waits for a minute."""
    end_s = time.monotonic() + _SEARCH_S
    while not services.find_node_ids():
        stop.raise_if_stopped()
        if time.monotonic() > end_s:
            raise RunError(
                f"The Ray cluster at {address} answers, but none of its nodes runs on this machine, and --address needs"
                f" one: run `ray start --address={address}` here, or use `hanclip submit`, which needs no node."
            )
        time.sleep(0.5)


def cluster_now() -> ClusterState:
    """The connected cluster right now. Raises RunError if its head does not answer."""
    with ray_errors_translated():
        return cluster_state()


def resources_of(state: ClusterState) -> Resources:
    """Resources of those nodes that do not leave."""
    there = [node.resources for node in state.staying]

    def by_node(name: str) -> tuple[float, ...]:
        return tuple(resources.get(name, 0.0) for resources in there)

    def total(name: str) -> float:
        return sum(by_node(name))

    return Resources(
        cpus=total("CPU"),
        gpus=total("GPU"),
        memory_bytes=total("memory"),
        object_store_bytes=total("object_store_memory") or 2**30,
        gpus_by_node=by_node("GPU"),
        autoscaled=state.autoscaled,
        cpu_only=total(CPU_ONLY) > 0,
        cpus_by_node=by_node("CPU"),
        memory_by_node=by_node("memory"),
    )
