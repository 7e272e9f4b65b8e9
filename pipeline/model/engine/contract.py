"""What an engine asks of a device, and what callers ask of an engine. Needs no torch.

A caller submits rows of one kind and gets a future of their features. The engine cuts and joins rows into passes, and
hands passes to a device, which computes them one after the other. A device that overlaps takes further passes before
the first is awaited: it copies the next pass in and the last one back while it computes.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.model.tokenizer import TextRows

Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
#: (B, N, N, 3) uint8 pixels, or texts.
InputRows = npt.NDArray[np.uint8] | TextRows
#: (B, D) float32, not normalised. Rows may be not finite.
Features = npt.NDArray[np.float32]


class PassTooLargeError(Exception):
    """The pass did not fit into the device's memory, whose `capacity` is smaller now: its rows may be tried again."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows of one forward pass.

    Attributes:
        kind: of all of its rows.
        parts: one or more, each of one request and not empty. Their features come back in this order.
        masked: texts come with a mask even if none is padded. Attention with a mask has another kernel.
    """

    kind: Kind
    parts: tuple[InputRows, ...]
    masked: bool = False

    @property
    def rows(self) -> int:
        """Number of rows of all parts."""
        return sum(map(len, self.parts))


class Device(Protocol):
    """Computes passes in the order in which they are submitted.

    `submit` is called by one thread at a time, and so is `wait`, which may be another thread. At most `depth` passes
    are submitted and not awaited yet; they are awaited in their order.
    """

    @property
    def dim(self) -> int:
        """Length D of a feature."""

    @property
    def depth(self) -> int:
        """Passes that may be submitted and not awaited; 1: the device does nothing while no pass is submitted."""

    @property
    def joins(self) -> bool:
        """Whether rows of several requests may share a pass, and a thread of its own feeds the device."""

    def capacity(self, kind: Kind) -> int:
        """Most rows in one pass, at least 1; may only shrink."""

    def submit(self, work: Pass) -> Any:
        """Begin a pass of at most `capacity` rows; returns what `wait` takes. It copies the rows before it returns.

        Raises:
            PassTooLargeError: the pass did not begin; it may be tried again with fewer rows.
            DeviceLostError: nothing can be computed any more.
            HanclipError: a single row does not fit.
        """

    def wait(self, handle: Any) -> Features:
        """The features of a submitted pass, which the device does not touch any more. Raises like `submit`."""


class Engine(Protocol):
    """Computes features of rows that several threads submit."""

    def submit(self, kind: Kind, rows: InputRows) -> Future[Features]:
        """Compute the features of one or more rows, in their order.

        The future has the error of the pass that failed; other requests are not affected, unless it is a
        `DeviceLostError`, which all of them get.
        """

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted, and end the engine's threads. Nothing may be submitted afterwards.

        Args:
            wait: return when they have ended.
        """
