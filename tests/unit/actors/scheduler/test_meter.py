"""What a run tells of itself while few chunks are through: no rate and no time left that a moment later is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.scheduler.meter import Meter
from pipeline.stats import Stats


@dataclass
class Crew:
    """A pool as the meter sees it."""

    ready: int = 0


@dataclass
class Crews:
    decoders: Crew = field(default_factory=lambda: Crew(1))
    embedders: Crew = field(default_factory=Crew)
    writers: Crew = field(default_factory=lambda: Crew(1))


def test_a_run_is_starting_until_the_model_is_loaded_and_says_what_it_waits_for() -> None:
    meter, crews = Meter("r", 1000, 0, 1), Crews()
    pools: Any = crews
    meter.levels({}, 0, pools)
    meter.stage("decode", 100, Stats(decode_s=0.1))
    told = meter.progress()
    assert (told.state, told.waiting_for) == ("starting", "the embedders to load the model")
    crews.embedders.ready = 1
    meter.levels({}, 0, pools)
    told = meter.progress()
    assert (told.state, told.waiting_for) == ("running", "")


def test_the_first_chunk_tells_no_wild_rate_and_no_time_left() -> None:
    meter = Meter("r", 1000, 0, 1)
    meter.state("running")
    meter.stage("embed", 100, Stats(embed_s=0.2))
    told = meter.progress()
    assert 0 < told.records_per_s <= 50
    assert told.eta_s is None
    meter._embedding_s = meter._began_s - 11
    assert meter.progress().eta_s is not None
