"""Passes and buffers that do not fit are tried again with half of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.errors import HanclipError
from pipeline.model.engine.contract import Pass, PassTooLargeError
from pipeline.model.engine.memory import Capacity, fitting
from pipeline.model.tokenizer import TextRows

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
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


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_a_pass_that_does_not_fit_halves_the_next_ones(error: Exception) -> None:
    capacity = Capacity(images=16, texts=64)

    def compute() -> None:
        raise error

    def texts(rows: int) -> Pass:
        return Pass("text", (TextRows(np.ones((rows, 3), np.int64), np.full(rows, 3)),))

    with pytest.raises(PassTooLargeError):
        capacity.within(texts(10), compute)
    assert (capacity.of("text"), capacity.of("image")) == (5, 16)
    with pytest.raises(HanclipError, match="A single record does not fit"):
        capacity.within(texts(1), compute)
