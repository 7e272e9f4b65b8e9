"""The CPU as a device: a pass is computed when it is submitted, by torch's threads.

Pixels are normalised here and not by the decoder, so that one byte per value is transferred and not four. They are
normalised in float32 and then cast to the model's dtype.
"""

from __future__ import annotations

import warnings

import torch

from pipeline.model.checkpoints import ModelSpec
from pipeline.model.engine.contract import Features, InputRows, Kind, Pass
from pipeline.model.engine.memory import Capacity
from pipeline.model.tokenizer import TextRows
from pipeline.model.towers.build import Tokens, TowerFacts, Towers

# Pixels in shared memory are read-only, and are only read here.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

#: Normalised at once: as floats they take 0.6 MB at 224 x 224, which a CPU's caches hold for the three steps.
_IMAGES_IN_CACHE = 1


class CpuDevice:
    """See `contract.Device`.

    Args:
        towers: on a CPU.
        spec: of the model.
        capacity: largest passes.
    """

    depth, joins = 1, False

    def __init__(self, towers: Towers, spec: ModelSpec, capacity: Capacity) -> None:
        self.dim = spec.dim
        self._towers, self._capacity = towers, capacity
        self._normalisation = Normalisation(spec, towers, _IMAGES_IN_CACHE)

    def capacity(self, kind: Kind) -> int:
        """See `contract.Device`."""
        return self._capacity.of(kind)

    def submit(self, work: Pass) -> Features:
        """See `contract.Device`."""
        (part,) = work.parts
        return self._capacity.within(work, lambda: self._forward(part, work.masked))

    def wait(self, handle: Features) -> Features:
        """See `contract.Device`."""
        return handle

    def _forward(self, part: InputRows, masked: bool) -> Features:
        if isinstance(part, TextRows):
            mask = torch.from_numpy(part.mask) if masked or part.padded else None
            vectors = self._towers.texts(Tokens(torch.from_numpy(part.ids), mask))
        else:
            vectors = self._towers.images(self._normalisation.of(torch.from_numpy(part)))
        features: Features = vectors.float().numpy()
        return features


class Normalisation:
    """(value / 255 - mean) / std, in float32, of the pixels that `towers` take.

    Args:
        spec: of the model.
        towers: their device and dtype.
        at_once: images that go through each step together.
    """

    def __init__(self, spec: ModelSpec, towers: TowerFacts, at_once: int) -> None:
        mean, std = (torch.tensor(values, dtype=torch.float32) for values in (spec.image_mean, spec.image_std))
        # For a row of pixels: along a dimension of 3, torch does not use the processor's vectors.
        self._scale, self._shift = (
            values.repeat(spec.image_size).to(towers.device) for values in (1 / (255 * std), mean / std)
        )
        self._dtype, self._at_once = towers.dtype, at_once

    def of(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, N, N, 3) uint8 -> (B, 3, N, N) in the model's dtype, with the channels last in memory."""
        levels = pixels.flatten(2)
        found = torch.empty(levels.shape, dtype=self._dtype, device=levels.device)
        for some, place in zip(levels.split(self._at_once), found.split(self._at_once), strict=True):
            place.copy_(some.float().mul_(self._scale).sub_(self._shift))
        return found.view(pixels.shape).permute(0, 3, 1, 2)
