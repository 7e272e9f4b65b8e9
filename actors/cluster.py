"""The Ray side of a run: start a local Ray or join a cluster, and decide how many actors of which size.

In: the cluster's CPUs and GPUs. Out: a `Layout`. The rule on GPUs: one embedder a GPU, decoders on all other CPUs. On
CPUs alone: a decoder and an embedder per core, each counted as half a core, because whichever of the two is the
bottleneck then gets the cores, and the other waits for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from actors.machine import available_memory_bytes, usable_cpus, visible_gpus
from actors.stopping import StopSignal
from pipeline.config import ClusterConfig, ModelConfig
from pipeline.errors import ConfigError, RunError

_OBJECT_STORE_SHARE = 0.3
_LOCAL_OBJECT_STORE_BYTES = 2 * 2**30
#: Ray gives it to the entrypoint of a job, and to nothing else.
_JOB_MARK = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Ray refuses less than 75 MiB.
_LEAST_OBJECT_STORE_BYTES = 80 * 2**20
#: Records per call: enough pixels that the cost of a call does not count, few enough that all actors have work.
_CHUNK_BYTES = 4 * 2**20
_CPU_CHUNK_ROWS = (64, 256)
_GPU_CHUNK_ROWS = (256, 256)
_DECODERS_PER_WRITER = 16
#: Peak memory of loading and running a model, in copies of its weights file as stored.
_MODEL_COPIES = 3


@dataclass(frozen=True, slots=True)
class Resources:
    """What there is to share out."""

    cpus: float
    gpus: float
    memory_bytes: float
    object_store_bytes: float


@dataclass(frozen=True, slots=True)
class Layout:
    """How many actors, and what each asks for.

    Attributes:
        embedder_threads: threads of a forward pass on CPU.
        chunk_rows: records per decode or embed call.
        inflight_bytes: decoded bytes in flight.
    """

    decoders: int
    embedders: int
    writers: int
    cpus_per_decoder: float
    cpus_per_embedder: float
    gpus_per_embedder: float
    embedder_threads: int
    chunk_rows: int
    inflight_bytes: int


def arrange(
    resources: Resources, cluster: ClusterConfig, model: ModelConfig, weights_bytes: int, image_size: int
) -> Layout:
    """Share the resources out.

    Args:
        resources: of the cluster or of this machine.
        cluster: the user's wishes, which win.
        model: for its batch size.
        weights_bytes: size of the model's weights, which bounds the number of copies on CPUs.
        image_size: N of the model's (N, N) pixels.
    """
    cpus = max(1, int(resources.cpus))
    gpus_each = cluster.gpus_per_embedder
    if gpus_each is None:
        gpus_each = 1.0 if resources.gpus >= 1 else 0.0
    if gpus_each > resources.gpus:
        raise ConfigError(
            f"An embedder asks for {gpus_each:g} GPUs and the cluster has {resources.gpus:g}: "
            "give --gpus-per-embedder 0 to compute on CPUs, or join a cluster that has GPUs."
        )
    if gpus_each:
        fitting = max(1, int(resources.gpus / gpus_each))
        embedders = cluster.embedders or fitting
        if embedders > fitting:
            raise ConfigError(
                f"{embedders} embedders with {gpus_each:g} GPUs each do not fit on {resources.gpus:g} GPUs: "
                "lower --embedders or --gpus-per-embedder."
            )
        decoders = cluster.decoders or max(1, cpus - embedders)
    else:
        fitting = int(resources.memory_bytes / (max(weights_bytes, 1) * _MODEL_COPIES)) or 1
        embedders = cluster.embedders or min(cpus, fitting)
        decoders = cluster.decoders or cpus
    # A GPU embedder asks for no CPU, so that decoders which were placed first can never keep it from its GPU.
    embedder_share, decoder_share = (0.0, 1.0) if gpus_each else (0.5, 0.5)
    shrink = min(1.0, cpus / (decoders * decoder_share + embedders * embedder_share))
    return Layout(
        decoders=decoders,
        embedders=embedders,
        writers=-(-decoders // _DECODERS_PER_WRITER),
        cpus_per_decoder=_rounded_down(decoder_share * shrink),
        cpus_per_embedder=_rounded_down(embedder_share * shrink),
        gpus_per_embedder=gpus_each,
        embedder_threads=max(1, cpus // embedders),
        chunk_rows=max(
            model.batch_size or 0, _chunk_rows(image_size, _GPU_CHUNK_ROWS if gpus_each else _CPU_CHUNK_ROWS)
        ),
        inflight_bytes=cluster.inflight_bytes or int(resources.object_store_bytes * _OBJECT_STORE_SHARE),
    )


def _chunk_rows(image_size: int, between: tuple[int, int]) -> int:
    least, most = between
    return min(most, max(least, _CHUNK_BYTES // (3 * image_size**2)))


def _rounded_down(share: float) -> float:
    """Ray counts in ten-thousandths; rounding up could make the last actor wait for ever."""
    return int(share * 10_000) / 10_000


def local_resources() -> Resources:
    """Resources of this machine, as a local Ray would share them out."""
    memory_bytes = available_memory_bytes()
    store_bytes = min(_LOCAL_OBJECT_STORE_BYTES, int(memory_bytes * _OBJECT_STORE_SHARE))
    return Resources(
        cpus=max(1.0, usable_cpus()),
        gpus=visible_gpus(),
        memory_bytes=memory_bytes - store_bytes,
        object_store_bytes=max(_LEAST_OBJECT_STORE_BYTES, store_bytes),
    )


def address_of(cluster: ClusterConfig) -> str | None:
    """Where to join a cluster: as configured, else the one that this process is a Ray job of; None to start a Ray.

    A `RAY_ADDRESS` that somebody set by hand does not count: who wants a cluster says so with `--address`.
    """
    if cluster.address is None and _JOB_MARK in os.environ:
        return os.environ.get("RAY_ADDRESS", "auto")
    return cluster.address


@contextmanager
def connected(cluster: ClusterConfig, noted: Callable[[], None] = lambda: None) -> Iterator[Resources]:
    """A connection to Ray: to the cluster at `address_of(cluster)`, else to a local Ray that ends with the block.

    Args:
        cluster: which Ray.
        noted: called at a signal to stop, which Ray's start holds up for some seconds.

    Raises:
        RunError: the cluster cannot be reached.
        SystemExit: a signal to stop came meanwhile.
    """
    if ray.is_initialized():
        yield cluster_resources()
        return
    address = address_of(cluster)
    # Of a failed call the scheduler reads the report. Ray would print its other result too, with a traceback.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        # Ray loses an exception that is raised inside its callbacks, so Ctrl-C is noted and looked at afterwards.
        with _without_rays_handlers(), StopSignal(noted=noted) as stop:
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
    """Keep Ray from taking SIGTERM: its handlers exit with 1 or 15, and where they interrupt a callback, not at all."""
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
        address="local",  # Without it, Ray would join whatever cluster it finds on this machine.
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
