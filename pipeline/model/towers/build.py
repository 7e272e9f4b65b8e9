"""Loads the two towers of a Chinese CLIP, strictly, from a checkpoint.

In: a `ModelSpec`. Out: `LoadedTowers`. The towers get the weights and settings that the spec was made from. The whole
model is loaded, and its weights must match exactly. Its tensors are those that were read, without a copy.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from pipeline.errors import ModelError
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.local.cache import cache_folder
from pipeline.model.towers.kernels import GpuKernels
from pipeline.model.towers.model import TwoTowers
from pipeline.model.weights.adapter import read_adapter
from pipeline.model.weights.tensors import unreadable
from pipeline.model.weights.weights import open_weights

_TEXT_AXES = 2
Tensors = dict[str, torch.Tensor]

#: Names of the image tower's parameters.
_VISUAL = ("vision_model.", "visual_projection.")


class Tokens(NamedTuple):
    """(T, L) token ids, and a mask with 0 for padding; None where no text has any."""

    ids: torch.Tensor
    mask: torch.Tensor | None


class TowerFacts(Protocol):
    """What `ChineseClip` says of a model."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of weights and activations."""

    @property
    def logit_scale(self) -> float:
        """Trained factor on cosines: exp of the parameter, 100 in the released models."""

    @property
    def parameters(self) -> tuple[int, int]:
        """Number of trained values of the whole model, and of its image tower with its projection."""

    @property
    def kernels(self) -> str:
        """What decides the last bits of vectors besides the dtype, without commas; empty on a CPU."""


class Towers(TowerFacts, Protocol):
    """A model for inference. Vectors are not normalised, in the model's dtype, on its device."""

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) normalised pixels -> (B, D)."""

    def texts(self, tokens: Tokens) -> torch.Tensor:
        """(T, L) token ids and mask -> (T, D)."""


class LoadedTowers:
    """`Towers` over a loaded model."""

    def __init__(self, model: TwoTowers, device: torch.device, dtype: torch.dtype) -> None:
        # Before the cast: in bf16 the trained 4.6052 becomes 4.59375, and the scale 98.9 instead of 100.
        self.logit_scale = float(model.logit_scale.detach().double().exp())
        self.device, self.dtype = device, dtype
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        visual = (size for name, size in sizes.items() if name.startswith(_VISUAL))
        self.parameters = (sum(sizes.values()), sum(visual))
        if device.type == "cuda":
            model.fuse()  # not on a CPU, where vectors keep their bits
        model.to(device=device, dtype=dtype)
        self._model, self.compiled = model, False
        self._kernels: GpuKernels | None = None
        self._image_features = model.image_features
        self._text_features = model.text_features

    def use(self, kernels: GpuKernels) -> None:
        """Compute with these kernels from now on; for a GPU."""
        layout = torch.channels_last if kernels.channels_last else torch.contiguous_format
        self._model.to(memory_format=layout)
        self._kernels = kernels

    def compile(self) -> None:
        """Run both towers through torch.compile; the first passes take a minute, unless the cache folder has them."""
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
        self._image_features = torch.compile(self._image_features)
        self._text_features = torch.compile(self._text_features)
        self.compiled = True

    @property
    def kernels(self) -> str:
        """See `TowerFacts`."""
        chosen = "" if self._kernels is None else str(self._kernels)
        return "; ".join(filter(None, (chosen, "compiled" if self.compiled else "")))

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Towers`."""
        self._let_shapes_vary(pixels)
        with nullcontext() if self._kernels is None else self._kernels.preferred():
            vectors: torch.Tensor = self._image_features(pixels)
        return vectors

    def texts(self, tokens: Tokens) -> torch.Tensor:
        """See `Towers`. Padding needs the mask: without it, it changes the vectors."""
        # Attention is faster without a mask.
        self._let_shapes_vary(*tokens)
        vectors: torch.Tensor = self._text_features(*tokens)
        return vectors

    def _let_shapes_vary(self, *inputs: torch.Tensor | None) -> None:
        """Compile for any number of rows, and of tokens: else the second size is compiled again, during a run."""
        for values in inputs if self.compiled else ():
            if values is not None:
                for axis in (0, 1) if values.ndim == _TEXT_AXES else (0,):
                    torch._dynamo.maybe_mark_dynamic(values, axis)


def load_towers(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> LoadedTowers:
    """Load the weights of `spec`. Raises ModelError if they are damaged, unsafe or do not fit."""
    return LoadedTowers(load_model(spec), device, dtype)


def load_model(spec: ModelSpec) -> TwoTowers:
    """The model in float32 on the CPU, for inference. Raises ModelError if its weights are damaged or do not fit.

    Pickled weights are read without torch's unpickler, and code in the model's folder is never run.
    """
    path = Path(spec.folder) / spec.weights_file
    state = load_state(spec, path)
    try:
        with torch.device("meta"):
            model = TwoTowers(spec.sizes)
        _require_fit(model.state_dict(), state, path)
        model.load_state_dict(state, assign=True)
    except ModelError:
        raise
    except Exception as error:  # torch's, and transformers' for an activation that it does not have
        raise unreadable(path, error) from error
    model.requires_grad_(False).eval()
    return model


def _require_fit(wanted: Tensors, found: Tensors, path: Path) -> None:
    """Raise ModelError unless the weights have the names, the shapes and the kinds of numbers that the towers have."""
    wrong = wanted.keys() ^ found.keys()
    wrong |= {name for name in wanted.keys() & found.keys() if _form(wanted[name]) != _form(found[name])}
    if wrong:
        raise ModelError(
            f"{path}: the weights do not fit each other in {len(wrong)} places, {min(wrong)} first. Take all of them "
            "from one model."
        )


def _form(values: torch.Tensor) -> tuple[torch.Size, bool]:
    return values.shape, values.is_floating_point()


def load_state(spec: ModelSpec, path: Path) -> Tensors:
    """The weights by transformers' names, in float32, with an adapter merged. Raises ModelError."""
    weights = open_weights(path.parent, path.name, spec.address)
    changes = read_adapter(Path(spec.adapter)).merged_into(weights.shapes) if spec.adapter else {}
    state = {}
    for name, values in weights.values():
        change = changes.get(name)
        if change is not None:
            values = change.values if change.replaces else values + change.values
        state[name] = torch.from_numpy(values)
    return state
