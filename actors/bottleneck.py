"""Which stage set the pace of a run, and what would make it faster. In: shares of time. Out: one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from actors.cluster import Layout
from actors.progress import Bottleneck

#: Below this share of busy time no stage was ever the limit: start-up or the shards' tail was.
_BUSY = 0.4
#: Runs shorter than this say more about start-up than about any stage.
_SHORT_S = 5.0


def find(busy: Mapping[str, float], seconds: float, layout: Layout) -> Bottleneck | None:
    """The stage whose actors were busiest.

    Args:
        busy: share of their time that each stage's actors worked: read, decode, embed, write.
        seconds: how long the stages ran.
        layout: the actors of the run, named in the advice.
    """
    if not busy:
        return None
    working = {stage: share for stage, share in busy.items() if stage != "read"}
    stage = max(working, key=lambda name: working[name])
    if busy["read"] > working[stage] and working["decode"] < _BUSY:
        stage = "read"
    advice = _advice(stage, layout)
    if busy[stage] < _BUSY:
        advice = f"no stage was busy for long: too few records or shards for {layout.decoders} decoders, or start-up"
    elif seconds < _SHORT_S:
        advice += " (a short run: measure on more records)"
    return Bottleneck(stage, dict(busy), advice)


def _advice(stage: str, layout: Layout) -> str:
    if stage == "read":
        return "the decoders waited for bytes: raise --read-concurrency or --decoders, or run nearer to the storage"
    if stage == "decode":
        return f"{layout.decoders} decoders kept their cores busy: add CPU cores or nodes, then raise --decoders"
    if stage == "write":
        return "the writers were busy: write to faster storage, or use --embedding-dtype float16"
    if layout.gpus_per_embedder:
        return f"{layout.embedders} GPUs were busy: add GPUs, or try --compile and a larger --batch-size"
    return "the model kept the CPU cores busy: use a GPU, a smaller model, or more nodes"
