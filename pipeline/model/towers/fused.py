"""Changes a loaded transformer so that a GPU needs fewer passes over its memory. Features change by rounding only.

Queries, keys and values come from one projection. `quick_gelu(x) = x * sigmoid(1.702 * x)`, for which torch has no
kernel, takes three; `silu(1.702 * x) / 1.702` is the same, and both factors go into the weights beside it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pipeline.model.towers.activations import QUICK_GELU_FACTOR, Activation, quick_gelu


def joined(projections: list[nn.Linear]) -> nn.Linear:
    """One projection whose output is that of several, one after the other."""
    one = nn.utils.skip_init(nn.Linear, projections[0].in_features, sum(each.out_features for each in projections))
    one.weight, one.bias = (
        nn.Parameter(torch.cat([getattr(each, name) for each in projections]), requires_grad=False)
        for name in ("weight", "bias")
    )
    return one


def with_one_kernel(activation: Activation, before: nn.Linear, after: nn.Linear) -> Activation:
    """An activation that is one kernel of torch; the projections around it get its factors."""
    if activation is not quick_gelu:
        return activation
    for layer, name, factor in (
        (before, "weight", QUICK_GELU_FACTOR),
        (before, "bias", QUICK_GELU_FACTOR),
        (after, "weight", 1 / QUICK_GELU_FACTOR),
    ):
        setattr(layer, name, nn.Parameter(getattr(layer, name) * factor, requires_grad=False))
    silu: Activation = functional.silu
    return silu
