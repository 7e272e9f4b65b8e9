"""How many actors a run gets, and how large each is.

In: CPUs, GPUs and memory. Out: a `Layout`. With GPUs: one embedder per GPU, decoders on all other CPUs. On CPUs alone:
a decoder and an embedder per core, each counted as half a core: whichever is the bottleneck gets the cores, and the
other waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import ClusterConfig, ModelConfig
from pipeline.errors import ConfigError
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.files.tensors import stored_bytes

_OBJECT_STORE_SHARE = 0.3


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


def weights_bytes(model: ModelSpec) -> int:
    """Size of the model's weights as stored."""
    return stored_bytes(Path(model.folder), model.weights_file)
