"""The activations inside the MLPs, by their names in config.json.

Those of the released models are here. Any other is taken from transformers, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Activation = Callable[[torch.Tensor], torch.Tensor]
QUICK_GELU_FACTOR = 1.702


def activation(name: str) -> Activation:
    """The activation; raises KeyError if transformers has none of this name."""
    if name in _OWN:
        return _OWN[name]
    from transformers.activations import ACT2FN  # seconds, for activations that no released model has

    found: Activation = ACT2FN[name]
    return found


def quick_gelu(values: torch.Tensor) -> torch.Tensor:
    """OpenAI's approximation of GELU."""
    return values * torch.sigmoid(QUICK_GELU_FACTOR * values)


_OWN: dict[str, Activation] = {"quick_gelu": quick_gelu, "gelu": functional.gelu}
