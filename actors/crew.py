"""The actors of a run, and what may be in flight between them: everything that the scheduler is given."""

from __future__ import annotations

from typing import Any

import ray

from actors.backlog import Limits
from actors.cluster import Layout
from actors.decoder import Decoder
from actors.embedder import Embedder
from actors.pool import Pool, Pools
from actors.writer import Writer
from pipeline.config import RunConfig
from pipeline.model.checkpoints import ModelSpec
from pipeline.plan import Plan

#: Calls in flight per actor. A decoder runs two at once, one reads while the other decodes; the others wait in line.
_DECODER_CALLS = 2
_EMBEDDER_CALLS = 3
_WRITER_CALLS = 2
#: On top of the time that reads may be retried: decoding or embedding one chunk never takes longer.
_CALL_TIMEOUT_S = 900.0
#: Id, text, hashes and other columns of a record, roughly.
_ROW_BYTES = 1024


def make_pools(config: RunConfig, plan: Plan, model: ModelSpec, layout: Layout) -> Pools:
    """The three crews, not started yet. `config.model` is pinned to a weights digest."""
    device = None if layout.gpus_per_embedder else "cpu"
    decoder = _actor(Decoder, num_cpus=layout.cpus_per_decoder, max_concurrency=_DECODER_CALLS)
    embedder = _actor(Embedder, num_cpus=layout.cpus_per_embedder, num_gpus=layout.gpus_per_embedder)
    writer = _actor(Writer, num_cpus=0)
    return Pools(
        decoders=Pool(
            "decoder",
            layout.decoders,
            lambda: decoder.remote(plan.source, config.image, model.image_size),
            _DECODER_CALLS,
        ),
        embedders=Pool(
            "embedder",
            layout.embedders,
            lambda: embedder.remote(config.model, plan.source.extra, layout.embedder_threads, device),
            _EMBEDDER_CALLS,
        ),
        writers=Pool("writer", layout.writers, lambda: writer.remote(plan.dataset, plan.run_id), _WRITER_CALLS),
    )


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
