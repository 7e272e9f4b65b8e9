"""Passes of one shape: a row has the same bits alone, among others, in any order, and on any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.errors import HanclipError
from pipeline.model.engine.contract import Features, InputRows, Kind, Pass, PassTooLargeError
from pipeline.model.engine.cpu import CpuDevice
from pipeline.model.engine.exact import FilledDevice, PassShape
from pipeline.model.engine.memory import Capacity
from pipeline.model.engine.open import device_for, engine_for, exact_device_for
from pipeline.model.tokenizer import TextRows
from pipeline.model.towers.build import LoadedTowers
from tests.fixtures.random_towers import SMALL_SIZES, random_weights, spec_for

ROWS, CONTEXT = 21, 52
FILLED = PassShape(rows=8, tokens=CONTEXT)
ON_CPU = PassShape.on("cpu", CONTEXT)


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def towers() -> LoadedTowers:
    return LoadedTowers(random_weights(), torch.device("cpu"), torch.float32)


def pixels() -> npt.NDArray[np.uint8]:
    side = SMALL_SIZES.image_size
    return np.random.default_rng(0).integers(0, 256, (ROWS, side, side, 3), dtype=np.uint8)


def texts() -> TextRows:
    """Of all lengths; eight in a row fill the context, so that a pass of them has no padding."""
    rng = np.random.default_rng(0)
    lengths = np.array([*rng.integers(3, CONTEXT, ROWS - 8), *[CONTEXT] * 8])
    ids = rng.integers(1, SMALL_SIZES.vocabulary, (ROWS, CONTEXT))
    ids[np.arange(CONTEXT) >= lengths[:, None]] = 0
    return TextRows(ids, lengths)


def chosen(rows: Any, places: list[int]) -> Any:
    return TextRows(rows.ids[places], rows.lengths[places]) if isinstance(rows, TextRows) else rows[places]


def features(device: Any, kind: Kind, rows: InputRows) -> Features:
    return engine_for(device).submit(kind, rows).result(60)


def filled(towers: LoadedTowers) -> FilledDevice:
    """What a GPU's passes are, on a CPU."""
    return FilledDevice(CpuDevice(towers, spec_for(), Capacity(FILLED.rows, FILLED.rows)), FILLED)


@pytest.mark.parametrize("make", ["row by row", "filled"])
@pytest.mark.parametrize(("kind", "rows"), [("image", pixels()), ("text", texts())], ids=["images", "texts"])
def test_a_row_has_the_same_bits_in_any_company(towers: LoadedTowers, make: str, kind: Kind, rows: InputRows) -> None:
    torch.set_num_threads(1)
    device: Any = filled(towers) if make == "filled" else exact_device_for(towers, spec_for(), ON_CPU)
    together = features(device, kind, rows)
    order = np.random.default_rng(1).permutation(ROWS).tolist()
    assert np.array_equal(features(device, kind, chosen(rows, order)), together[order])
    for size in (1, 5, 8):
        parts = [order[start : start + size] for start in range(0, ROWS, size)]
        for part in parts:
            assert np.array_equal(features(device, kind, chosen(rows, part)), together[part])
    usual = features(device_for(towers, spec_for(), ROWS), kind, rows)
    np.testing.assert_allclose(together, usual, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "rows"), [("image", pixels()), ("text", texts())], ids=["images", "texts"])
def test_threads_take_passes_and_change_no_bit(towers: LoadedTowers, kind: Kind, rows: InputRows) -> None:
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        device = exact_device_for(towers, spec_for(), ON_CPU)
        assert (device.capacity(kind), torch.get_num_threads()) == (4 * threads, 1)
        found.append(features(device, kind, rows))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


class FullDevice:
    """Has room for passes, and none for what is computed in them."""

    dim, depth, joins = 1, 1, False

    def __init__(self, rows: int = FILLED.rows) -> None:
        self._rows = rows

    def capacity(self, kind: Kind) -> int:
        return self._rows

    def submit(self, work: Pass) -> Features:
        raise PassTooLargeError

    def wait(self, handle: Features) -> Features:
        return handle


def test_a_pass_that_does_not_fit_is_an_error_and_not_a_smaller_pass() -> None:
    with pytest.raises(HanclipError, match="leave out --exact"):
        features(FilledDevice(FullDevice(), FILLED), "image", pixels())
    with pytest.raises(HanclipError, match="pass of 8 rows"):
        FilledDevice(FullDevice(FILLED.rows - 1), FILLED)


def test_shapes_are_named_for_footers() -> None:
    assert str(ON_CPU) == "exact: rows 1; texts unpadded; threads 1"
    assert str(PassShape.on("cuda", CONTEXT)) == "exact: rows 64; texts of 52 tokens"
