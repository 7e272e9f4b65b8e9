"""Which stage set the pace of a run, and what would make it faster. In: shares of time. Out: one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from actors.crew_size import Layout
from pipeline.jobs.progress import Bottleneck

#: Below this share of busy time no stage was ever the limit: start-up or the shards' tail was.
_BUSY = 0.4
#: Runs shorter than this say more about start-up than about any stage.
_SHORT_S = 5.0


def find(busy: Mapping[str, float], seconds: float, layout: Layout) -> Bottleneck | None:
    """The stage whose actors were busiest; no stage is named when none was busy for long.

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
    if seconds < _SHORT_S or busy[stage] < _BUSY:
        return Bottleneck(None, dict(busy), "no stage was busy for long: too few records to tell")
    return Bottleneck(stage, dict(busy), _advice(stage, f"{busy[stage]:.0%}".replace("%", " % of the time"), layout))


def _advice(stage: str, share: str, layout: Layout) -> str:
    if stage == "read":
        return (
            f"the decoders waited {share} for bytes: raise --read-concurrency or --decoders,"
            " or run nearer to the storage"
        )
    if stage == "decode":
        return f"{layout.decoders} decoders worked {share}: add CPU cores or nodes, then raise --decoders"
    if stage == "write":
        return f"the writers worked {share}: write to faster storage, or use --embedding-dtype float16"
    if layout.gpus_per_embedder:
        return f"{layout.embedders} embedders worked {share}: add GPUs, or try --compile and a larger --batch-size"
    return f"the model computed {share}: use a GPU, a smaller model, or more nodes"
