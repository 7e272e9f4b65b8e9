"""Reads the authors' `.pt` checkpoints, and maps their tensors to transformers' names in memory.

A tensor may have to be transposed, or split in three if it fuses queries, keys and values. The file may hold an
optimizer, prefix names with `module.`, be in float16, and use the names of a training run with FlashAttention. The
image tower of a ResNet keeps its names (`pipeline.model.towers.resnet`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ModelError
from pipeline.model.architecture import Architecture, from_shapes
from pipeline.model.files.tensors import state_of, stored_tensors, unreadable

if TYPE_CHECKING:
    import torch

_WRAPPER = "module."
_DROPPED = "bert.pooler."
_SAME = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_PREFIXES = {"visual.ln_pre.": "vision_model.pre_layrnorm.", "visual.ln_post.": "vision_model.post_layernorm."}
_BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_FUSED_IMAGE = re.compile(r"attn\.(?:in_proj_|Wqkv\.)(weight|bias)")
_FUSED_TEXT = re.compile(r"bert\.(encoder\.layer\.\d+\.attention\.self)\.Wqkv\.(weight|bias)")
_FLASH_OUT = re.compile(r"bert\.(encoder\.layer\.\d+\.attention)\.self\.out_proj\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Move:
    """The mapping of one tensor: from `source` in the file to `target` in the model.

    `third` selects one of three equal parts along the first dimension, if the source fuses three.
    """

    source: str
    target: str
    third: int | None = None
    transposed: bool = False

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in the model, given the shape in the file."""
        if self.third is not None:
            source = (source[0] // 3, *source[1:])
        return source[::-1] if self.transposed else source

    def tensor(self, source: torch.Tensor) -> torch.Tensor:
        """The tensor for the model, in float32; shares memory with the source if nothing changes."""
        if self.third is not None:
            source = source.chunk(3)[self.third]
        if self.transposed:
            source = source.T
        return (source.float() if source.is_floating_point() else source).contiguous()


def moves(names: Iterable[str]) -> Iterator[Move]:
    """The mapping of a file's tensors. Unknown names stay unchanged, and are reported when the model is loaded."""
    plain = {name: name.removeprefix(_WRAPPER) for name in names}
    is_resnet = any(name.startswith("visual.attnpool.") for name in plain.values())
    for source, name in plain.items():
        if not name.startswith(_DROPPED):
            yield from _moves(source, name, is_resnet)


def read_architecture(path: Path) -> Architecture:
    """Layer sizes of the model in a `.pt` file, from its shapes. Needs no torch. Raises ModelError."""
    stored = stored_tensors(path.parent, path.name)
    try:
        return from_shapes({move.target: move.shape(stored[move.source].shape) for move in moves(stored)})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a `.pt` file by transformers' names, in float32; memory-mapped if the format allows it.

    Raises:
        ModelError: the file is damaged, or holds objects that might run code.
    """
    import torch
    from torch.serialization import safe_globals

    try:
        with safe_globals(_numbers()):
            tree = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        state = {name: tensor for name, tensor in state_of(tree).items() if isinstance(tensor, torch.Tensor)}
        return {move.target: move.tensor(state[move.source]) for move in moves(state)}
    except Exception as error:  # torch, pickle and zip each raise their own
        raise unreadable(path, error) from error


def _moves(source: str, name: str, is_resnet: bool) -> Iterator[Move]:
    if name.startswith("visual.") and is_resnet:
        yield Move(source, f"vision_model.{name.removeprefix('visual.')}")
    elif name in _TRANSPOSED:
        yield Move(source, _TRANSPOSED[name], transposed=True)
    elif block := _BLOCK.fullmatch(name):
        yield from _block_moves(source, f"vision_model.encoder.layers.{block[1]}", block[2])
    elif fused := _FUSED_TEXT.fullmatch(name):
        for third, part in enumerate(("query", "key", "value")):
            yield Move(source, f"text_model.{fused[1]}.{part}.{fused[2]}", third)
    elif out := _FLASH_OUT.fullmatch(name):
        yield Move(source, f"text_model.{out[1]}.output.dense.{out[2]}")
    elif name.startswith("bert."):
        yield Move(source, f"text_model.{name.removeprefix('bert.')}")
    else:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        yield Move(source, _PREFIXES[prefix] + name.removeprefix(prefix) if prefix else _SAME.get(name, name))


def _block_moves(source: str, layer: str, name: str) -> Iterator[Move]:
    """Inside one block of the image tower."""
    if fused := _FUSED_IMAGE.fullmatch(name):
        for third, part in enumerate(("q_proj", "k_proj", "v_proj")):
            yield Move(source, f"{layer}.self_attn.{part}.{fused[1]}", third)
        return
    stem, _, kind = name.rpartition(".")
    yield Move(source, f"{layer}.{_IN_BLOCK.get(stem, stem)}.{kind}")


def _numbers() -> list[object]:
    """What NumPy pickles for a number, such as a best score in the checkpoint; torch's safe loading refuses it."""
    import numpy as np

    # The pickled name differs between NumPy 1 and 2, the function is the same.
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]
