"""A model that gives no finite vector ends the run; single records without one go to quarantine."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from actors import embedder as embedders
from actors.embedder import Embedder
from pipeline.config import ModelConfig
from pipeline.dataset.schema import QUARANTINE, OwnColumns
from pipeline.errors import DeviceLostError, ModelError
from pipeline.model import hardware
from pipeline.model.chinese_clip import ChineseClip
from pipeline.records import ImageBatch
from pipeline.stats import Stats
from tests.fixtures.datasets import filled


class BrokenClip:
    """Gives NaN for images whose first value is 0."""

    dim, dtype, logit_scale, makers = 3, torch.bfloat16, 100.0, MappingProxyType({})

    def begin_images(self, pixels: npt.NDArray[np.uint8]) -> Callable[[], npt.NDArray[np.float32]]:
        vectors = np.tile(np.array([1, 0, 0], np.float32), (len(pixels), 1))
        vectors[pixels[:, 0, 0, 0] == 0] = np.nan
        return lambda: vectors


class BrokenEmbedder(Embedder):
    def _load(self) -> Any:
        return BrokenClip()


def embed(broken: int, sound: int) -> tuple[int, int]:
    embedder = BrokenEmbedder(ModelConfig(name="mine"), 1, "cpu")
    embedder.setup()
    ids = [f"{number}" for number in range(broken + sound)]
    rows = filled({"id": ids}, OwnColumns(True, False).decoded)
    pixels = np.ones((len(ids), 4, 4, 3), np.uint8)
    pixels[:broken] = 0
    batch, _ = embedder.embed(ImageBatch(rows, pixels, QUARANTINE.empty_table(), truncated=1), 1)
    assert batch.counts == Stats(images_truncated=1)
    return batch.table.num_rows, batch.quarantine.num_rows


def test_single_records_without_a_finite_vector_are_quarantined() -> None:
    assert embed(broken=9, sound=1) == (1, 9)
    assert embed(broken=3, sound=0) == (0, 3)  # too few to blame the model


def test_a_chunk_without_a_finite_vector_is_the_models_fault() -> None:
    with pytest.raises(
        ModelError, match=r"model mine gave no finite vector for any of 8 records in bfloat16\. The fau"
    ):
        embed(broken=8, sound=0)


def test_a_lost_device_ends_the_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Ended(BaseException):
        pass

    class LostClip(BrokenClip):
        def begin_images(self, pixels: npt.NDArray[np.uint8]) -> Callable[[], npt.NDArray[np.float32]]:
            raise DeviceLostError("The GPU failed")

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(BrokenEmbedder, "_load", lambda self: LostClip())
    with pytest.raises(Ended, match="1"):
        embed(broken=0, sound=2)
    assert "The embedder ends: The GPU failed" in capfd.readouterr().err


def test_a_pass_takes_no_more_threads_than_its_node_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(embedders, "usable_cpus", lambda: 7.5)
    monkeypatch.setattr(hardware, "set_threads", threads.append)
    monkeypatch.setattr(ChineseClip, "load", lambda *_: BrokenClip())
    for wanted in (64, 2):
        Embedder(ModelConfig(name="demo"), wanted, "cpu").setup()
    assert threads == [7, 2]
