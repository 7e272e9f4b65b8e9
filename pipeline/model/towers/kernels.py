"""How a GPU computes the towers: choices that change its speed, and vectors by rounding only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Kernels of attention by torch's names; those first that are usually the fastest.
ATTENTIONS = ("flash", "cudnn", "efficient")
_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


@dataclass(frozen=True, slots=True)
class GpuKernels:
    """A choice.

    Attributes:
        attention: one of `ATTENTIONS`, of the image tower, preferred where it can compute.
        channels_last: whether the weights of convolutions have the channels last in memory, as pixels have.
    """

    attention: str
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.attention} attention; channels {'last' if self.channels_last else 'first'}"

    @classmethod
    def parse(cls, text: str) -> GpuKernels:
        """What `str` made. Raises ValueError."""
        for attention in ATTENTIONS:
            for channels_last in (True, False):
                if str(kernels := cls(attention, channels_last)) == text:
                    return kernels
        raise ValueError(f"{text!r} names no kernels")

    @contextmanager
    def preferred(self) -> Iterator[None]:
        """Prefer the attention kernel in this block."""
        first = _BACKENDS[self.attention]
        others = [backend for backend in _BACKENDS.values() if backend is not first]
        with sdpa_kernel([first, *others, SDPBackend.MATH], set_priority=True):
            yield


def candidates(dtype: torch.dtype) -> tuple[GpuKernels, ...]:
    """Those that can compute in `dtype`, first the one that is usually the fastest. Flash and cuDNN have no float32."""
    attentions = ("efficient",) if dtype == torch.float32 else ATTENTIONS
    return tuple(GpuKernels(attention, channels_last) for channels_last in (True, False) for attention in attentions)
