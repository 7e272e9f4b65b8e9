"""Makes the pools of actors of a run, and the limits on what is in flight between them.

Decoders and writers hold a plan, so each run has its own. Embedders hold only the model and may serve many runs. The
first decoder and the first embedder have reserved places, so that runs which share a cluster never wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from actors.crew_size import CrewSize
from actors.decoder import Decoder
from actors.embedder import Embedder
from actors.scheduler.backlog import Limits
from actors.scheduler.pool import Pool
from actors.scheduler.reserved import Reservation
from actors.scheduler.worker import Depth
from actors.writer import Writer
from pipeline.config import ModelConfig, RunConfig
from pipeline.credentials.headers import HeaderVariables
from pipeline.images.makers import pixel_makers
from pipeline.model.checkpoints import ModelSpec
from pipeline.plan.draft import Plan

#: Calls in flight per actor. A decoder runs both of its calls at once, so that one reads while the other decodes; a
#: writer runs one call and queues the other.
_DECODER_CALLS = 2
_WRITER_CALLS = 2
#: Full chunks that an embedder has at hand, as rows; how much work that is at least; and the calls that it may be cut
#: into, since small shards make small chunks. With a GPU all of them run at once: while it computes for some, others
#: tokenize and make tables, and more wait to be joined. On CPUs, where all of that takes the same cores, they queue.
_EMBEDDER_CHUNKS = 3
_EMBEDDER_AT_HAND_S = 0.25
_EMBEDDER_CALLS = 16
#: On top of the time for reads and their retries: decoding or embedding one chunk never takes longer.
_CALL_TIMEOUT_S = 900.0
#: Approximate size of a record's id, text, hashes and other columns.
_ROW_BYTES = 1024


def reserve(size: CrewSize) -> Reservation:
    """Ask for the places of one decoder and one embedder."""
    return Reservation({"decoder": _decoder_asks(size), "embedder": _embedder_asks(size)})


def decoders(config: RunConfig, plan: Plan, model: ModelSpec, size: CrewSize, places: Reservation) -> Pool:
    """Actors that read and decode the plan's source; not started yet."""
    variables = HeaderVariables.of(config.source.http_headers)
    columns = plan.dataset.identity.own_columns.decoded
    arguments = (plan.source, config.image, model.image_size, columns, variables, pixel_makers())
    make = _maker(Decoder, arguments, num_cpus=size.cpus_per_decoder, max_concurrency=_DECODER_CALLS)
    return Pool("decoder", size.decoders, make, Depth(_DECODER_CALLS), _decoder_asks(size), places.place("decoder"))


def embedders(model: ModelConfig, size: CrewSize, places: Reservation) -> Pool:
    """Actors that run the model, which must be pinned to a digest; independent of any plan."""
    device = None if size.gpus_per_embedder else "cpu"
    arguments = (model, size.embedder_threads, device)
    asks = {"num_cpus": size.cpus_per_embedder, "num_gpus": size.gpus_per_embedder, "memory": size.bytes_per_embedder}
    make = _maker(Embedder, arguments, **asks, max_concurrency=_EMBEDDER_CALLS if size.gpus_per_embedder else 1)
    depth = Depth(_EMBEDDER_CALLS, _EMBEDDER_CHUNKS * size.chunk_rows, _EMBEDDER_AT_HAND_S)
    return Pool("embedder", size.embedders, make, depth, _embedder_asks(size), places.place("embedder"))


def writers(plan: Plan, size: CrewSize) -> Pool:
    """Actors that commit the plan's shards; not started yet."""
    make = _maker(Writer, (plan.dataset, plan.run_id), num_cpus=0)
    return Pool("writer", size.writers, make, Depth(_WRITER_CALLS))


def _decoder_asks(size: CrewSize) -> dict[str, float]:
    return {"CPU": size.cpus_per_decoder}


def _embedder_asks(size: CrewSize) -> dict[str, float]:
    return {"CPU": size.cpus_per_embedder, "GPU": size.gpus_per_embedder, "memory": size.bytes_per_embedder}


def limits(config: RunConfig, plan: Plan, model: ModelSpec, size: CrewSize) -> Limits:
    """What may be in flight in this run."""
    pixels = 3 * model.image_size**2 if plan.source.has_images else 0
    return Limits(
        chunk_rows=size.chunk_rows,
        bytes_per_row=pixels + _ROW_BYTES,
        inflight_bytes=size.inflight_bytes,
        waiting_chunks=size.embedders * _EMBEDDER_CHUNKS,
        waiting_shards=size.writers * _WRITER_CALLS,
        call_timeout_s=_CALL_TIMEOUT_S + _longest_read_s(config, size.chunk_rows),
        placement_timeout_s=config.cluster.placement_timeout_s,
    )


def _longest_read_s(config: RunConfig, rows: int) -> float:
    """How long reading a chunk takes if every object uses up its timeout; a call that takes less is not hung."""
    source = config.source
    turns = -(-rows // source.read_concurrency)
    return 2 * source.retry_timeout_s + turns * source.read_timeout_s


def _maker(actor: type, arguments: tuple[Any, ...], **options: Any) -> Callable[..., Any]:
    """Ray must not restart actors or retry calls: the pool replaces them, so that every death is counted."""

    def make(**place: Any) -> Any:
        chosen = {"max_restarts": 0, "max_task_retries": 0, **options, **place}
        return ray.remote(actor).options(**chosen).remote(*arguments)

    return make
