"""What the server asks of a model, and what it says of it. Needs no torch.

`pipeline.model.chinese_clip.ChineseClip` is an `Encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors

Pixels = npt.NDArray[np.uint8]


class SubmittedTexts(Protocol):
    """T texts that were submitted; see `pipeline.model.chinese_clip.BegunTexts`."""

    @property
    def vectors(self) -> Callable[[], Vectors]:
        """Waits for their (T, D) vectors of norm 1."""

    @property
    def too_long(self) -> npt.NDArray[np.bool_]:
        """(T,) whether a text has more tokens than the model takes."""

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """(T,) tokens that the model reads."""


class Encoder(Protocol):
    """Encodes images and texts into one space. Called by one thread at a time."""

    @property
    def image_size(self) -> int:
        """Images are N x N pixels."""

    @property
    def dim(self) -> int:
        """Length D of a vector."""

    @property
    def logit_scale(self) -> float:
        """The trained factor on cosines."""

    @property
    def batch_size(self) -> int:
        """Most images in one pass; it may shrink."""

    def encode_images(self, pixels: Pixels) -> Vectors:
        """(B, N, N, 3) uint8 RGB -> (B, D) float32 of norm 1. Rows that are not finite stay so."""

    def begin_texts(self, texts: Sequence[str]) -> SubmittedTexts:
        """Submit T texts."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What `/v1/models` says: enough to see whether vectors of a dataset can be compared with those of this server.

    Attributes:
        id: name of the model in requests.
        created: when the server started, in seconds since 1970.
        identity: plain values that the vectors follow from, such as digests, preprocessing and arithmetic.
        dim, logit_scale: of its vectors, and the factor on their cosines.
        also: further names for it in requests, such as the short name that the server was started with.
        refuses_long_texts: whether a text with too many tokens is refused.
    """

    id: str
    created: int
    identity: dict[str, Any]
    dim: int
    logit_scale: float
    also: tuple[str, ...] = ()
    refuses_long_texts: bool = False

    def body(self) -> dict[str, Any]:
        """The model as OpenAI's object."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "hanclip",
            "hanclip": {"dim": self.dim, "logit_scale": self.logit_scale, **self.identity},
        }
