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
from actors.writer import Writer
from pipeline.config import ModelConfig, RunConfig
from pipeline.credentials.headers import HeaderVariables
from pipeline.images.makers import pixel_makers
from pipeline.model.checkpoints import ModelSpec
from pipeline.plan.draft import Plan

#: Calls in flight per actor. A decoder runs both of its calls at once, so that one reads while the other decodes. So
#: does an embedder with a GPU: while it computes for some, others tokenize and make tables, and more wait to be joined.
#: Embedders on CPUs, where all of that takes the same cores, and writers run one call and queue the others.
_DECODER_CALLS = 2
_EMBEDDER_CALLS, _GPU_EMBEDDER_CALLS = 3, 6
_WRITER_CALLS = 2
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
    arguments = (plan.source, config.image, model.image_size, variables, pixel_makers())
    make = _maker(Decoder, arguments, num_cpus=size.cpus_per_decoder, max_concurrency=_DECODER_CALLS)
    return Pool("decoder", size.decoders, make, _DECODER_CALLS, _decoder_asks(size), places.place("decoder"))


def embedders(model: ModelConfig, size: CrewSize, places: Reservation) -> Pool:
    """Actors that run the model, which must be pinned to a digest; independent of any plan."""
    device = None if size.gpus_per_embedder else "cpu"
    arguments = (model, size.embedder_threads, device)
    calls = _embedder_calls(size)
    asks = {"num_cpus": size.cpus_per_embedder, "num_gpus": size.gpus_per_embedder}
    make = _maker(Embedder, arguments, **asks, max_concurrency=calls if size.gpus_per_embedder else 1)
    return Pool("embedder", size.embedders, make, calls, _embedder_asks(size), places.place("embedder"))


def _embedder_calls(size: CrewSize) -> int:
    return _GPU_EMBEDDER_CALLS if size.gpus_per_embedder else _EMBEDDER_CALLS


def writers(plan: Plan, size: CrewSize) -> Pool:
    """Actors that commit the plan's shards; not started yet."""
    make = _maker(Writer, (plan.dataset, plan.run_id), num_cpus=0)
    return Pool("writer", size.writers, make, _WRITER_CALLS)


def _decoder_asks(size: CrewSize) -> dict[str, float]:
    return {"CPU": size.cpus_per_decoder}


def _embedder_asks(size: CrewSize) -> dict[str, float]:
    return {"CPU": size.cpus_per_embedder, "GPU": size.gpus_per_embedder}


def limits(config: RunConfig, plan: Plan, model: ModelSpec, size: CrewSize) -> Limits:
    """What may be in flight in this run."""
    pixels = 3 * model.image_size**2 if plan.source.has_images else 0
    return Limits(
        chunk_rows=size.chunk_rows,
        bytes_per_row=pixels + _ROW_BYTES,
        inflight_bytes=size.inflight_bytes,
        waiting_chunks=size.embedders * _embedder_calls(size),
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
