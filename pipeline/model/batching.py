"""Cut a batch into forward passes that fit the memory, finding out what fits.

A GPU is often shared, and how much a model needs is known only when it runs. So running out of memory is an answer, not
a failure: the pass is done again with half the rows, and later batches begin with the smaller size.
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
        """`forward` over consecutive slices that cover `total` >= 1 rows, its results one below the other.

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
        """None when the memory did not suffice; `rows` is smaller then."""
        rows: int = part.stop - part.start
        try:
            with torch.inference_mode():
                return forward(part)
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise HanclipError(
                    "A single record does not fit in the device's memory: use --dtype bf16, a smaller model, or a "
                    "device that is shared less."
                ) from error
        # Only here, when the error and with it the failed pass's tensors are gone, is there memory to give back.
        self.rows = rows // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
