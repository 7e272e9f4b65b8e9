"""The stages of a run: the table that the meter, the metrics and the search for the bottleneck loop over.

A stage is a part of the work whose time is reported. Each belongs to one kind of remote call, which has its own pool
of actors; a decode call covers two stages, reading and decoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.stats import Stats

CallKind = Literal["decode", "embed", "write"]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage.

    Attributes:
        name: as in the metrics, `progress.json` and `summary.json`.
        call: the remote call that it is a part of; names its pool, its queue and its rate.
        seconds_field: the field of `Stats` that holds its seconds.
        advice: what makes it faster; may use `{share}`, `{decoders}` and `{embedders}`.
        advice_on_gpus: replaces `advice` when embedders have GPUs.
    """

    name: str
    call: CallKind
    seconds_field: str
    advice: str
    advice_on_gpus: str = ""

    def seconds(self, stats: Stats) -> float:
        """Seconds that actors spent on this stage."""
        return float(getattr(stats, self.seconds_field))


READ = StageSpec(
    name="read",
    call="decode",
    seconds_field="read_s",
    advice="the decoders waited {share} for bytes: raise --read-concurrency or --decoders, or run nearer to the"
    " storage",
)
DECODE = StageSpec(
    name="decode",
    call="decode",
    seconds_field="decode_s",
    advice="{decoders} decoders worked {share}: add CPU cores or nodes, then raise --decoders",
)
EMBED = StageSpec(
    name="embed",
    call="embed",
    seconds_field="embed_s",
    advice="the model computed {share}: use a GPU, a smaller model, or more nodes",
    advice_on_gpus="{embedders} embedders worked {share}: add GPUs, or try --compile and a larger --batch-size",
)
WRITE = StageSpec(
    name="write",
    call="write",
    seconds_field="write_s",
    advice="the writers worked {share}: write to faster storage, or use --embedding-dtype float16",
)
STAGES = (READ, DECODE, EMBED, WRITE)
CALLS: tuple[CallKind, ...] = get_args(CallKind)


@dataclass(frozen=True, slots=True)
class Labour:
    """What the actors of a stage have done.

    Attributes:
        worked_s: seconds that they worked.
        had_s: seconds that they had, all actors together.
    """

    worked_s: float
    had_s: float

    @property
    def busy(self) -> float:
        """Share of their time that they worked, 0 to 1."""
        return min(1.0, self.worked_s / max(self.had_s, 1e-3))

    def since(self, before: Labour) -> Labour:
        """The part after `before`."""
        return Labour(self.worked_s - before.worked_s, self.had_s - before.had_s)


#: What a run waits for while no actor of a pool is ready.
WAITING_FOR: dict[CallKind, str] = {
    "decode": "the decoders to start",
    "embed": "the embedders to load the model",
    "write": "the writers to start",
}
