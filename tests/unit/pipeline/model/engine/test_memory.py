"""Buffers that do not fit are made for passes of half the rows."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import HanclipError
from pipeline.model.engine.memory import fitting


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to"), RuntimeError("CUDA error: out of memory")]
)
def test_rows_are_halved_until_they_fit(error: Exception) -> None:
    tried: list[int] = []

    def make(rows: int) -> int:
        tried.append(rows)
        if rows > most:
            raise error
        return rows

    most = 5
    assert (fitting(16, make), tried) == (4, [16, 8, 4])
    most = 0
    with pytest.raises(HanclipError, match="A single record does not fit"):
        fitting(16, make)


def test_other_errors_are_not_tried_again() -> None:
    def make(rows: int) -> int:
        raise RuntimeError(f"CUDA error: invalid argument for {rows} rows")

    with pytest.raises(RuntimeError, match="for 16 rows"):
        fitting(16, make)
