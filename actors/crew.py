"""The three crews, and what may be in flight between them: everything that the scheduler is given.

Decoders and writers hold a plan, so each run has its own. Embedders hold the model alone and may serve many runs.
"""

from __future__ import annotations

from typing import Any

import ray

from actors.crew_size import Layout
from actors.decoder import Decoder
from actors.embedder import Embedder
from actors.scheduler.backlog import Limits
from actors.scheduler.pool import Pool
from actors.writer import Writer
from pipeline.config import ModelConfig, RunConfig
from pipeline.model.checkpoints import ModelSpec
from pipeline.plan.make import Plan

#: Calls in flight per actor. A decoder runs two at once, one reads while the other decodes; the others wait in line.
_DECODER_CALLS = 2
_EMBEDDER_CALLS = 3
_WRITER_CALLS = 2
#: On top of the time that reads may be retried: decoding or embedding one chunk never takes longer.
_CALL_TIMEOUT_S = 900.0
#: Id, text, hashes and other columns of a record, roughly.
_ROW_BYTES = 1024


def decoders(config: RunConfig, plan: Plan, model: ModelSpec, layout: Layout) -> Pool:
    """Actors that read and decode the plan's source, not started yet."""
    actor = _actor(Decoder, num_cpus=layout.cpus_per_decoder, max_concurrency=_DECODER_CALLS)
    arguments = (plan.source, config.image, model.image_size)
    return Pool("decoder", layout.decoders, lambda: actor.remote(*arguments), _DECODER_CALLS)


def embedders(model: ModelConfig, layout: Layout) -> Pool:
    """Actors that run the model, which is pinned to a weights digest; they know nothing of a plan."""
    device = None if layout.gpus_per_embedder else "cpu"
    actor = _actor(Embedder, num_cpus=layout.cpus_per_embedder, num_gpus=layout.gpus_per_embedder)
    arguments = (model, layout.embedder_threads, device)
    return Pool("embedder", layout.embedders, lambda: actor.remote(*arguments), _EMBEDDER_CALLS)


def writers(plan: Plan, layout: Layout) -> Pool:
    """Actors that commit the plan's shards, not started yet."""
    actor = _actor(Writer, num_cpus=0)
    arguments = (plan.dataset, plan.run_id)
    return Pool("writer", layout.writers, lambda: actor.remote(*arguments), _WRITER_CALLS)


def limits(config: RunConfig, plan: Plan, model: ModelSpec, layout: Layout) -> Limits:
    """What may be in flight in this run."""
    pixels = 3 * model.image_size**2 if plan.source.has_images else 0
    return Limits(
        chunk_rows=layout.chunk_rows,
        bytes_per_row=pixels + _ROW_BYTES,
        inflight_bytes=layout.inflight_bytes,
        waiting_chunks=layout.embedders * _EMBEDDER_CALLS,
        waiting_shards=layout.writers * _WRITER_CALLS,
        call_timeout_s=_CALL_TIMEOUT_S + _longest_read_s(config, layout.chunk_rows),
    )


def _longest_read_s(config: RunConfig, rows: int) -> float:
    """What reading a chunk may take where every object uses up its time: a call is not hung before that."""
    source = config.source
    turns = -(-rows // source.read_concurrency)
    return 2 * source.retry_timeout_s + turns * source.read_timeout_s


def _actor(actor: type, **options: Any) -> Any:
    """Ray restarts none of them and repeats no call: the pool replaces them, so every death is seen and counted."""
    return ray.remote(actor).options(max_restarts=0, max_task_retries=0, **options)
