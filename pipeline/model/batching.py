"""Splits a batch into forward passes that fit into memory.

A GPU is often shared, and how much memory a model needs is known only when it runs. So a pass that runs out of memory
is retried with half the rows, and later batches start with the smaller size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline.errors import HanclipError


class Passes:
    """Runs a function over slices of a batch.

    Attributes:
        rows: most rows in one pass; only ever shrinks.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def run(self, total: int, forward: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """`forward` over consecutive slices that cover `total` >= 1 rows; its results are concatenated.

        Raises:
            HanclipError: a single row does not fit.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < total:
            part = slice(start, min(start + self.rows, total))
            result = self._attempt(forward, part)
            if result is not None:
                done.append(result)
                start = part.stop
        return torch.cat(done)

    def _attempt(self, forward: Callable[[slice], torch.Tensor], part: slice) -> torch.Tensor | None:
        """The result, or None if the device ran out of memory; `rows` is then reduced."""
        rows: int = part.stop - part.start
        try:
            with torch.inference_mode():
                return forward(part)
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise HanclipError(
                    "A single record does not fit in the device's memory: use --dtype bf16, a smaller model, or a "
                    "device with more free memory."
                ) from error
        # Outside the handler, where the error no longer keeps the failed pass's tensors alive.
        self.rows = rows // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
