"""Decides how many actors a run gets, and how large each is.

In: CPUs, GPUs and memory. Out: a `CrewSize`. With GPUs: one embedder per GPU, decoders on all other CPUs. On CPUs
alone: a decoder and an embedder per core, each counted as half a core; the one that is the bottleneck then gets the
cores while the other waits. Of a cluster the memory counts node by node, since an actor has that of one node only: an
embedder on CPUs asks its node for it, so that Ray places no more of them there than fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.config import ClusterConfig, ModelConfig
from pipeline.errors import ConfigError
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.weights.weights import open_weights

OBJECT_STORE_SHARE = 0.3
#: Ray's resource by which the head of a cluster declares that its autoscaler never adds a GPU.
CPU_ONLY = "hanclip_cpu_only"
#: Decoded bytes per call: enough that the overhead of a call does not matter, few enough that all actors have work.
_CHUNK_BYTES = 4 * 2**20
_CPU_CHUNK_ROWS = (64, 256)
#: A GPU passes 256 images in some 25 ms; with one call for two passes, the calls take half as much CPU.
_GPU_CHUNK_ROWS = (512, 512)
_DECODERS_PER_WRITER = 16
#: Peak memory of loading and running a model, in multiples of its weights file.
_MODEL_COPIES = 3
#: Memory of a process with what it imports: Arrow and the readers, and for embedders torch.
_DECODER_BYTES = 250 * 2**20
_EMBEDDER_BYTES = 600 * 2**20


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run may use now.

    Attributes:
        autoscaled: whether an autoscaler adds nodes for actors that find no place.
        cpu_only: whether the cluster declares with the resource `CPU_ONLY` that none of its nodes will have a GPU.
        cpus_by_node, memory_by_node: of each node; empty if they are all one node's.
    """

    cpus: float
    gpus: float
    memory_bytes: float
    object_store_bytes: float
    gpus_by_node: tuple[float, ...] = ()
    autoscaled: bool = False
    cpu_only: bool = False
    cpus_by_node: tuple[float, ...] = ()
    memory_by_node: tuple[float, ...] = ()

    def cpu_places(self, bytes_each: int) -> int:
        """How many actors with a CPU and so many bytes of memory each fit."""
        cpus = self.cpus_by_node or (max(1, int(self.cpus)),)
        nodes = zip(cpus, self.memory_by_node or (self.memory_bytes,), strict=True)
        return int(sum(min(cpus, memory_bytes // bytes_each) for cpus, memory_bytes in nodes))

    def places(self, gpus_each: float) -> int:
        """How many actors with `gpus_each` GPUs fit: a share of a GPU never spans two, nor an actor two nodes."""
        nodes = self.gpus_by_node or (self.gpus,)
        if gpus_each < 1:
            # Ray counts in ten-thousandths: three thirds written as 0.3333 fit, and so do ten tenths.
            return sum(int(gpus) for gpus in nodes) * int(1 / gpus_each + 1e-6)
        return sum(int(gpus // gpus_each) for gpus in nodes)


@dataclass(frozen=True, slots=True)
class CrewSize:
    """How many actors, and what each asks for.

    Attributes:
        embedder_threads: threads of a forward pass on CPU.
        chunk_rows: records per decode or embed call.
        inflight_bytes: decoded bytes in flight.
        bytes_per_embedder: memory of its node; 0: it asks for none.
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
    bytes_per_embedder: int = 0

    def for_shards(self, rows: Iterable[int]) -> CrewSize:
        """The same without the decoders and embedders that would have nothing to do; each takes seconds to start.

        Args:
            rows: of each shard.
        """
        chunks = sum(-(-count // self.chunk_rows) for count in rows)
        return replace(self, decoders=min(self.decoders, chunks), embedders=min(self.embedders, chunks))


class _Shares(NamedTuple):
    """Numbers of actors, what each asks for if there is enough, and the least and most rows of a chunk."""

    decoders: int
    embedders: int
    cpus_per_decoder: float
    cpus_per_embedder: float
    chunk_rows: tuple[int, int]
    bytes_per_embedder: int = 0


def size_crew(
    resources: Resources, cluster: ClusterConfig, model: ModelConfig, weights_bytes: int, image_size: int
) -> CrewSize:
    """Divide the resources among the actors.

    Args:
        resources: of the cluster or of this machine.
        cluster: the user's settings, which take precedence.
        model: for its batch size.
        weights_bytes: size of the model's weights, which bounds the number of copies on CPUs.
        image_size: N of the model's (N, N) pixels.

    Raises:
        ConfigError: the embedders do not fit on the GPUs.
    """
    cpus = max(1, int(resources.cpus))
    gpus_each = _gpus_per_embedder(resources, cluster)
    if gpus_each:
        _require_gpus(resources, gpus_each, cluster)
    shares = _shares(resources, gpus_each, weights_bytes, cluster)
    asked = shares.decoders * shares.cpus_per_decoder + shares.embedders * shares.cpus_per_embedder
    # An actor that asks for its full share makes an autoscaler add a node.
    shrink = 1.0 if resources.autoscaled else min(1.0, cpus / asked)
    return CrewSize(
        decoders=shares.decoders,
        embedders=shares.embedders,
        writers=writers_for(shares.decoders),
        cpus_per_decoder=_rounded_down(shares.cpus_per_decoder * shrink),
        cpus_per_embedder=_rounded_down(shares.cpus_per_embedder * shrink),
        gpus_per_embedder=gpus_each,
        embedder_threads=max(1, cpus // shares.embedders),
        chunk_rows=max(model.batch_size or 0, _chunk_rows(image_size, *shares.chunk_rows)),
        inflight_bytes=_inflight_bytes(resources, cluster),
        bytes_per_embedder=shares.bytes_per_embedder,
    )


def resize_crew(size: CrewSize, resources: Resources, cluster: ClusterConfig, weights_bytes: int) -> CrewSize:
    """The crew for a cluster whose nodes have changed: each actor asks for the same, and as many as fit.

    Args:
        size: the crew so far.
        resources: of the cluster now.
        cluster: the user's settings; numbers of actors in it stay.
        weights_bytes: as for `size_crew`.
    """
    shares = _shares(resources, size.gpus_per_embedder, weights_bytes, cluster)
    return replace(
        size,
        decoders=shares.decoders,
        embedders=shares.embedders,
        writers=writers_for(shares.decoders),
        inflight_bytes=_inflight_bytes(resources, cluster),
    )


def chosen_number(number: Literal["auto"] | int | None) -> int | None:
    """The number of actors that the user chose; None for auto."""
    return number if isinstance(number, int) else None


def writers_for(decoders: int) -> int:
    """How many writers keep up with `decoders`."""
    return -(-decoders // _DECODERS_PER_WRITER)


def weights_bytes(model: ModelSpec) -> int:
    """Size of the model's weights as stored."""
    stored = open_weights(Path(model.folder), model.weights_file, model.address).stored()
    return sum(tensor.n_bytes for tensor in stored.values())


def _gpus_per_embedder(resources: Resources, cluster: ClusterConfig) -> float:
    gpus_each = cluster.gpus_per_embedder
    if gpus_each is None and resources.gpus < 1 and resources.autoscaled and not resources.cpu_only:
        raise ConfigError(
            "The cluster has no GPU now, and its autoscaler may or may not be able to add one, which Ray does not say:"
            " give --gpus-per-embedder 1 to wait for a node with a GPU, or --gpus-per-embedder 0 to compute on CPUs."
            f" A head with the resource {CPU_ONLY} declares that no node has GPUs."
        )
    if gpus_each is None:
        return 1.0 if resources.gpus >= 1 else 0.0
    if gpus_each > 1 and gpus_each != int(gpus_each):
        raise ConfigError(f"--gpus-per-embedder {gpus_each:g}: give a share of one GPU, or a whole number of GPUs.")
    return gpus_each


def _require_gpus(resources: Resources, gpus_each: float, cluster: ClusterConfig) -> None:
    """Refuse embedders that do not fit, unless an autoscaler may add the GPUs."""
    fitting = resources.places(gpus_each)
    if resources.autoscaled:
        return
    if not fitting:
        raise ConfigError(
            f"An embedder asks for {gpus_each:g} GPUs on one node, and the cluster has {resources.gpus:g} in all: "
            "give --gpus-per-embedder 0 to compute on CPUs, or join a cluster that has GPUs."
        )
    embedders = chosen_number(cluster.embedders)
    if embedders and embedders > fitting:
        raise ConfigError(
            f"{embedders} embedders with {gpus_each:g} GPUs each do not fit on {resources.gpus:g} GPUs, which"
            f" hold {fitting}: lower --embedders or --gpus-per-embedder."
        )


def _shares(resources: Resources, gpus_each: float, weights_bytes: int, cluster: ClusterConfig) -> _Shares:
    """Embedders get GPUs and no CPU, so that decoders that were placed first cannot keep one from its GPU.

    Without GPUs: a decoder and an embedder per CPU, unless fewer fit into memory.
    """
    most_decoders = resources.cpu_places(_DECODER_BYTES) or 1
    chosen, chosen_embedders = chosen_number(cluster.decoders), chosen_number(cluster.embedders)
    if gpus_each:
        embedders = chosen_embedders or max(1, resources.places(gpus_each))
        decoders = min(max(1, int(resources.cpus) - embedders), most_decoders)
        return _Shares(chosen or decoders, embedders, 1.0, 0.0, _GPU_CHUNK_ROWS)
    each = _EMBEDDER_BYTES + _MODEL_COPIES * weights_bytes
    fitting = resources.cpu_places(each + _DECODER_BYTES)
    embedders = chosen_embedders or fitting or 1
    decoders = min(most_decoders, max(1, int((resources.memory_bytes - embedders * each) / _DECODER_BYTES)))
    # More than fit, because the user chose them or because there must be one, would wait for memory without an end.
    asked = each + _DECODER_BYTES if resources.memory_by_node and embedders <= fitting else 0
    return _Shares(chosen or decoders, embedders, 0.5, 0.5, _CPU_CHUNK_ROWS, asked)


def _inflight_bytes(resources: Resources, cluster: ClusterConfig) -> int:
    return cluster.inflight_bytes or int(resources.object_store_bytes * OBJECT_STORE_SHARE)


def _chunk_rows(image_size: int, least: int, most: int) -> int:
    return min(most, max(least, _CHUNK_BYTES // (3 * image_size**2)))


def _rounded_down(share: float) -> float:
    """Ray counts in ten-thousandths; rounding up could leave the last actor without a place."""
    return int(share * 10_000) / 10_000
