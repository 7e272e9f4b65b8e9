"""The choice of kernels on a CPU, with a clock that the test sets: an option, so whatever fails leaves a choice."""

from __future__ import annotations

import errno
import fcntl
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.engine import choices
from pipeline.model.engine.choices import choose_kernels
from pipeline.model.towers.build import LoadedTowers
from pipeline.model.towers.kernels import GpuKernels, candidates
from tests.fixtures.random_towers import random_weights, spec_for

HALF = torch.float16
EFFICIENT_FIRST = GpuKernels("efficient", channels_last=False)
USUAL = {dtype: candidates(dtype)[0] for dtype in (HALF, torch.float32)}


class Clock:
    """Stands in for passes on a GPU: `fastest` takes half a second and others one, or what `failing` says is raised."""

    def __init__(self, fastest: GpuKernels, failing: dict[str, Exception]) -> None:
        self.passes: Counter[str] = Counter()
        self.most_rows = 0
        self._fastest, self._failing = fastest, failing

    def timed(self, towers: LoadedTowers, pixels: torch.Tensor, passes: int) -> float:
        if error := self._failing.get(towers.kernels.partition(" ")[0]):
            raise error
        self.passes[towers.kernels] += passes
        self.most_rows = max(self.most_rows, len(pixels))
        return 0.5 if towers.kernels == str(self._fastest) else 1.0


@pytest.fixture
def choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path))
    monkeypatch.setattr(choices, "_situation", lambda towers, *_: str(towers.dtype))
    weights = random_weights()

    def chosen(clock: Clock, dtype: torch.dtype = HALF, measure: bool = True) -> GpuKernels:
        monkeypatch.setattr(choices, "_timed", clock.timed)
        towers = LoadedTowers(weights, torch.device("cpu"), dtype)
        found = choose_kernels(towers, spec_for(), 256, measure)
        assert towers.kernels == str(found)
        return found

    return chosen


def test_the_fastest_is_found_with_small_passes_and_kept(choose: Any, tmp_path: Path) -> None:
    clock = Clock(EFFICIENT_FIRST, {})
    assert choose(clock) == EFFICIENT_FIRST
    assert set(clock.passes) == {str(one) for one in candidates(HALF)}
    assert clock.most_rows == 64
    other = Clock(USUAL[HALF], {})
    assert choose(other, measure=False) == choose(other) == EFFICIENT_FIRST
    assert not other.passes
    (kept,) = [path for path in tmp_path.glob("kernels/*") if not path.suffix]
    kept.write_text("damaged")
    assert choose(other) == USUAL[HALF]


def test_what_is_slower_in_one_pass_is_not_measured_further(choose: Any) -> None:
    clock = Clock(USUAL[HALF], {})
    assert choose(clock) == USUAL[HALF]
    others = [passes for kernels, passes in clock.passes.items() if kernels != str(USUAL[HALF])]
    assert max(others) < clock.passes[str(USUAL[HALF])]


def test_who_makes_few_passes_measures_nothing(choose: Any) -> None:
    clock = Clock(EFFICIENT_FIRST, {})
    assert choose(clock, measure=False) == USUAL[HALF]
    assert not clock.passes


def test_in_float32_only_what_can_compute_it_is_chosen(choose: Any) -> None:
    clock = Clock(EFFICIENT_FIRST, {})
    assert USUAL[torch.float32].attention == "efficient"
    assert choose(clock, torch.float32) == EFFICIENT_FIRST
    assert len(clock.passes) == 2


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("no execution plan")])
def test_a_candidate_that_fails_is_left_out(choose: Any, error: Exception) -> None:
    assert choose(Clock(EFFICIENT_FIRST, {"flash": error, "cudnn": error})) == EFFICIENT_FIRST


def test_a_measurement_that_failed_is_made_again(choose: Any) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    assert choose(Clock(EFFICIENT_FIRST, dict.fromkeys(("flash", "cudnn", "efficient"), error))) == USUAL[HALF]
    assert choose(Clock(EFFICIENT_FIRST, {})) == EFFICIENT_FIRST


def test_a_file_system_without_locks_is_enough(choose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert choose(Clock(EFFICIENT_FIRST, {})) == EFFICIENT_FIRST
