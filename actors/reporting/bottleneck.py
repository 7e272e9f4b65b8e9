"""Finds the stage that set the pace of a run, and what would make it faster.

In: the share of time that each stage was busy. Out: a `Bottleneck` with one sentence of advice.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.crew_size import CrewSize
from actors.scheduler.stages import DECODE, READ, STAGES, StageSpec
from pipeline.jobs.progress import Bottleneck

#: Below this share of busy time a stage was not the limit: start-up or the last shards were.
_BUSY = 0.4
#: The shares of a shorter run reflect its start-up, not its stages.
_SHORT_S = 5.0


def find_bottleneck(busy: Mapping[str, float], seconds: float, crew: CrewSize) -> Bottleneck | None:
    """The stage whose actors were busiest; no stage is named if none was busy for long.

    Args:
        busy: share of their time that the actors of each stage worked, by the stage's name.
        seconds: how long the stages ran.
        crew: the actors of the run, for the advice.
    """
    if not busy:
        return None
    stage = busiest(busy)
    if seconds < _SHORT_S or busy[stage.name] < _BUSY:
        return Bottleneck(None, dict(busy), "no stage was busy for long: too few records to tell")
    share = f"{busy[stage.name]:.0%}".replace("%", " % of the time")
    advice = (crew.gpus_per_embedder and stage.advice_on_gpus) or stage.advice
    return Bottleneck(
        stage.name, dict(busy), advice.format(share=share, decoders=crew.decoders, embedders=crew.embedders)
    )


def busiest(busy: Mapping[str, float]) -> StageSpec:
    """The stage that sets the pace: by name, the share of time that the actors of each stage worked.

    A decoder reads one chunk while it decodes another, so reading is the limit only if decoders are mostly idle.
    """
    stage = max((stage for stage in STAGES if stage is not READ), key=lambda stage: busy[stage.name])
    if busy[READ.name] > busy[stage.name] and busy[DECODE.name] < _BUSY:
        return READ
    return stage
