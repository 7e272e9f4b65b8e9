"""Makes the pools of actors of a run, and the limits on what is in flight between them.

Decoders and writers hold a plan, so each run has its own. Embedders hold only the model and may serve many runs.
"""

from __future__ import annotations

from typing import Any

import ray

from actors.crew_size import CrewSize
from actors.decoder import Decoder
from actors.embedder import Embedder
from actors.scheduler.backlog import Limits
from actors.scheduler.pool import Pool
from actors.writer import Writer
from pipeline.config import ModelConfig, RunConfig
from pipeline.model.checkpoints import ModelSpec
from pipeline.plan.draft import Plan

#: Calls in flight per actor. A decoder runs both of its calls at once, so that one reads while the other decodes;
#: embedders and writers run one call and queue the others.
_DECODER_CALLS = 2
_EMBEDDER_CALLS = 3
_WRITER_CALLS = 2
#: On top of the time for reads and their retries: decoding or embedding one chunk never takes longer.
_CALL_TIMEOUT_S = 900.0
#: Approximate size of a record's id, text, hashes and other columns.
_ROW_BYTES = 1024


def decoders(config: RunConfig, plan: Plan, model: ModelSpec, size: CrewSize) -> Pool:
    """Actors that read and decode the plan's source; not started yet."""
    actor = _actor(Decoder, num_cpus=size.cpus_per_decoder, max_concurrency=_DECODER_CALLS)
    arguments = (plan.source, config.image, model.image_size)
    return Pool(
        "decoder", size.decoders, lambda: actor.remote(*arguments), _DECODER_CALLS, {"CPU": size.cpus_per_decoder}
    )


def embedders(model: ModelConfig, size: CrewSize) -> Pool:
    """Actors that run the model, which must be pinned to a weights digest; independent of any plan."""
    device = None if size.gpus_per_embedder else "cpu"
    actor = _actor(Embedder, num_cpus=size.cpus_per_embedder, num_gpus=size.gpus_per_embedder)
    arguments = (model, size.embedder_threads, device)
    asks = {"CPU": size.cpus_per_embedder, "GPU": size.gpus_per_embedder}
    return Pool("embedder", size.embedders, lambda: actor.remote(*arguments), _EMBEDDER_CALLS, asks)


def writers(plan: Plan, size: CrewSize) -> Pool:
    """Actors that commit the plan's shards; not started yet."""
    actor = _actor(Writer, num_cpus=0)
    arguments = (plan.dataset, plan.run_id)
    return Pool("writer", size.writers, lambda: actor.remote(*arguments), _WRITER_CALLS)


def limits(config: RunConfig, plan: Plan, model: ModelSpec, size: CrewSize) -> Limits:
    """What may be in flight in this run."""
    pixels = 3 * model.image_size**2 if plan.source.has_images else 0
    return Limits(
        chunk_rows=size.chunk_rows,
        bytes_per_row=pixels + _ROW_BYTES,
        inflight_bytes=size.inflight_bytes,
        waiting_chunks=size.embedders * _EMBEDDER_CALLS,
        waiting_shards=size.writers * _WRITER_CALLS,
        call_timeout_s=_CALL_TIMEOUT_S + _longest_read_s(config, size.chunk_rows),
        placement_timeout_s=config.cluster.placement_timeout_s,
    )


def _longest_read_s(config: RunConfig, rows: int) -> float:
    """How long reading a chunk takes if every object uses up its timeout; a call that takes less is not hung."""
    source = config.source
    turns = -(-rows // source.read_concurrency)
    return 2 * source.retry_timeout_s + turns * source.read_timeout_s


def _actor(actor: type, **options: Any) -> Any:
    """Ray must not restart actors or retry calls: the pool replaces them, so that every death is counted."""
    return ray.remote(actor).options(max_restarts=0, max_task_retries=0, **options)
