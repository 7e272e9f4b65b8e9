"""Maps the authors' names of tensors to those of transformers, and tells the tensors of a Chinese CLIP from others.

A tensor may have to be transposed, or split in three if it fuses queries, keys and values. The names of a training run
with FlashAttention are known too. The image tower of a ResNet keeps its names (`pipeline.model.towers.resnet`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Buffers, and heads of BERT that Chinese CLIP does not use; old checkpoints contain them.
_UNUSED = re.compile(
    r"(?:.*\.)?(?:position_ids|token_type_ids|attn_mask)|(?:bert|text_model)\.pooler\.dense\.(?:weight|bias)|cls\..+"
)
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
_PAIR = r"(?:weight|bias)"
_KNOWN = re.compile(
    r"logit_scale|(?:text|visual)_projection\.weight"
    r"|text_model\.embeddings\.(?:(?:word|position|token_type)_embeddings\.weight|LayerNorm\." + _PAIR + ")"
    r"|text_model\.encoder\.layer\.\d+\.(?:attention\.self\.(?:query|key|value)|attention\.output\.(?:dense|LayerNorm)"
    r"|intermediate\.dense|output\.(?:dense|LayerNorm))\." + _PAIR + "|"
    r"vision_model\.(?:embeddings\.(?:class_embedding|patch_embedding\.weight|position_embedding\.weight)"
    r"|(?:pre_layrnorm|post_layernorm)\." + _PAIR + "|"
    r"encoder\.layers\.\d+\.(?:self_attn\.(?:q|k|v|out)_proj|layer_norm[12]|mlp\.fc[12])\." + _PAIR + "|"
    r"(?:layer\d\.\d+\.)?(?:conv\d\.weight|bn\d\..+|downsample\.[01]\..+)"
    r"|attnpool\.(?:positional_embedding|[qkvc]_proj\." + _PAIR + "))"
)


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
        if self.third is not None and _has_thirds(source):
            source = (source[0] // 3, *source[1:])
        return source[::-1] if self.transposed else source

    def values(self, source: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The tensor for the model, row by row in memory."""
        if self.third is not None and _has_thirds(source.shape):
            source = np.split(source, 3)[self.third].copy()  # a view would keep all three in memory
        return np.require(source.T if self.transposed else source, requirements=("C", "W"))


def _has_thirds(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has three equal parts. A damaged one without them is not split, so that it fits no model."""
    return bool(shape) and shape[0] % 3 == 0


def has_resnet(names: Iterable[str]) -> bool:
    """Whether the names, in the authors' spelling, are those of a model with a ResNet."""
    return any(name.startswith("visual.attnpool.") for name in names)


def moves(names: Iterable[str], is_resnet: bool) -> Iterator[Move]:
    """The mapping of a file's tensors, without those that are not used. Unknown names stay unchanged."""
    for name in names:
        if not _UNUSED.fullmatch(name):
            yield from _moves(name, is_resnet)


def is_authors(names: Iterable[str]) -> bool:
    """Whether the names are those of the authors' code, and not those of transformers."""
    return any(name.startswith("bert.") for name in names)


def foreign(names: Iterable[str]) -> list[str]:
    """The names that no Chinese CLIP has, in transformers' spelling."""
    return [name for name in names if not _KNOWN.fullmatch(name)]


def _moves(name: str, is_resnet: bool) -> Iterator[Move]:
    if name.startswith("visual.") and is_resnet:
        yield Move(name, f"vision_model.{name.removeprefix('visual.')}")
    elif name in _TRANSPOSED:
        yield Move(name, _TRANSPOSED[name], transposed=True)
    elif block := _BLOCK.fullmatch(name):
        yield from _block_moves(name, f"vision_model.encoder.layers.{block[1]}", block[2])
    elif fused := _FUSED_TEXT.fullmatch(name):
        for third, part in enumerate(("query", "key", "value")):
            yield Move(name, f"text_model.{fused[1]}.{part}.{fused[2]}", third)
    elif out := _FLASH_OUT.fullmatch(name):
        yield Move(name, f"text_model.{out[1]}.output.dense.{out[2]}")
    elif name.startswith("bert."):
        yield Move(name, f"text_model.{name.removeprefix('bert.')}")
    else:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        yield Move(name, _PREFIXES[prefix] + name.removeprefix(prefix) if prefix else _SAME.get(name, name))


def _block_moves(source: str, layer: str, name: str) -> Iterator[Move]:
    """Inside one block of the image tower."""
    if fused := _FUSED_IMAGE.fullmatch(name):
        for third, part in enumerate(("q_proj", "k_proj", "v_proj")):
            yield Move(source, f"{layer}.self_attn.{part}.{fused[1]}", third)
        return
    stem, _, kind = name.rpartition(".")
    yield Move(source, f"{layer}.{_IN_BLOCK.get(stem, stem)}.{kind}")
