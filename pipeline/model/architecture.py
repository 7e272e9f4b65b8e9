"""The layer sizes of a Chinese CLIP, from config.json or from the shapes of its weights.

In: the tree of a config.json, or the shapes of tensors by transformers' names. Out: an `Architecture`, which can
produce a config.json. An original `.pt` file has no metadata, so everything is derived from its shapes, except the
number of attention heads, which no shape shows: a head is 64 wide in every tower of the authors except the image tower
of ViT-H/14, whose width of 1280 is split into heads of 80.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from pipeline.errors import ModelError

#: `model_type` in config.json: transformers' own, and hanclip's for an image tower `resnet.ModifiedResNet`.
VIT, RESNET = "chinese_clip", "chinese_clip_resnet"
#: Pixels of an image's side per position of a ResNet's last feature map.
RESNET_STRIDE = 32
#: Channels of a ResNet's last feature map per channel of its stem.
RESNET_GROWTH = 32
_HEAD_WIDTH = 64
_HEAD_WIDTHS = {1280: 80}  # of image towers

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Transformer:
    """A stack of layers: `width` numbers per token, `heads` attention heads, `hidden` numbers inside the MLP."""

    layers: int
    width: int
    heads: int
    hidden: int


@dataclass(frozen=True, slots=True)
class ResNet:
    """A ResNet with `stages` blocks in its four stages and `width` channels after the stem."""

    stages: tuple[int, ...]
    width: int

    @property
    def heads(self) -> int:
        """Attention heads of the pooling layer."""
        return self.width * RESNET_GROWTH // _HEAD_WIDTH


@dataclass(frozen=True, slots=True)
class Architecture:
    """Both towers.

    Attributes:
        dim: length D of a vector.
        image_size: images are N x N pixels.
        image: the image tower.
        patch: pixels of a patch's side; for a ResNet, of a position in its last feature map.
        text: the text tower, a BERT.
        vocabulary, positions: size of its vocabulary, and the longest text that it could take in tokens.
    """

    dim: int
    image_size: int
    image: Transformer | ResNet
    patch: int
    text: Transformer
    vocabulary: int = 21128
    positions: int = 512

    @property
    def image_tokens(self) -> int:
        """Tokens of an image inside the tower, including the class token."""
        return (self.image_size // self.patch) ** 2 + 1

    def config(self) -> dict[str, Any]:
        """The tree of config.json."""
        return {
            "model_type": RESNET if isinstance(self.image, ResNet) else VIT,
            "projection_dim": self.dim,
            "logit_scale_init_value": 2.6592,
            "text_config": {
                **_transformer_config(self.text),
                "model_type": "chinese_clip_text_model",
                "vocab_size": self.vocabulary,
                "max_position_embeddings": self.positions,
                "type_vocab_size": 2,
                "hidden_act": "gelu",
                "layer_norm_eps": 1e-12,
            },
            "vision_config": self._image_config(),
        }

    def _image_config(self) -> dict[str, Any]:
        if isinstance(self.image, ResNet):
            return {
                "stages": list(self.image.stages),
                "width": self.image.width,
                "heads": self.image.heads,
                "image_size": self.image_size,
            }
        return {
            **_transformer_config(self.image),
            "model_type": "chinese_clip_vision_model",
            "image_size": self.image_size,
            "patch_size": self.patch,
            "projection_dim": self.dim,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        }


def from_config(tree: Mapping[str, Any]) -> Architecture:
    """Read the tree of a config.json, with transformers' defaults. Raises KeyError and the like if it is malformed."""
    image, text = tree["vision_config"], tree["text_config"]
    is_resnet = tree["model_type"] == RESNET
    return Architecture(
        dim=int(tree.get("projection_dim", 512)),
        image_size=int(image.get("image_size", 224)),
        image=ResNet(tuple(image["stages"]), int(image["width"])) if is_resnet else _transformer(image),
        patch=RESNET_STRIDE if is_resnet else int(image.get("patch_size", 32)),
        text=_transformer(text),
        vocabulary=int(text.get("vocab_size", 30522)),
        positions=int(text.get("max_position_embeddings", 512)),
    )


def from_shapes(shapes: Shapes) -> Architecture:
    """Derive the sizes from the tensors' shapes, by transformers' names. Raises ModelError if it is no Chinese CLIP."""
    try:
        words = shapes["text_model.embeddings.word_embeddings.weight"]
        is_resnet = "vision_model.attnpool.positional_embedding" in shapes
        image, patch, side = _read_resnet(shapes) if is_resnet else _read_vit(shapes)
        layers = _count(shapes, "text_model.encoder.layer.")
        hidden = shapes["text_model.encoder.layer.0.intermediate.dense.weight"][0]
        return Architecture(
            dim=shapes["text_projection.weight"][0],
            image_size=side * patch,
            image=image,
            patch=patch,
            text=Transformer(layers, words[1], _heads(words[1], _HEAD_WIDTH), hidden),
            vocabulary=words[0],
            positions=shapes["text_model.embeddings.position_embeddings.weight"][0],
        )
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"it is not a Chinese CLIP ({error} is missing): give a checkpoint as its authors release it."
        ) from error


def _read_vit(shapes: Shapes) -> tuple[Transformer, int, int]:
    """The tower, its patch size, and the number of patches per image side."""
    width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    layers = _count(shapes, "vision_model.encoder.layers.")
    hidden = shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0]
    heads = _heads(width, _HEAD_WIDTHS.get(width, _HEAD_WIDTH))
    side = _root(shapes["vision_model.embeddings.position_embedding.weight"][0] - 1)
    return Transformer(layers, width, heads, hidden), patch, side


def _read_resnet(shapes: Shapes) -> tuple[ResNet, int, int]:
    stages = tuple(_count(shapes, f"vision_model.layer{stage}.") for stage in range(1, 5))
    side = _root(shapes["vision_model.attnpool.positional_embedding"][0] - 1)
    return ResNet(stages, 2 * shapes["vision_model.conv1.weight"][0]), RESNET_STRIDE, side


def _count(shapes: Shapes, prefix: str) -> int:
    """Number of layers, whose names are `prefix` and a number."""
    return len({name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)})


def _heads(width: int, head_width: int) -> int:
    if width % head_width:
        raise ModelError(
            f"a tower is {width} wide, which is not a multiple of its heads' width, {head_width}: convert the "
            "checkpoint where it was trained, and give the folder with its config.json."
        )
    return width // head_width


def _root(positions: int) -> int:
    side = isqrt(max(positions, 0))
    if side * side != positions:
        raise ModelError(
            f"its image tower has {positions} positions, which are not a square: give a Chinese CLIP checkpoint."
        )
    return side


def _transformer(tree: Mapping[str, Any]) -> Transformer:
    return Transformer(
        layers=int(tree.get("num_hidden_layers", 12)),
        width=int(tree.get("hidden_size", 768)),
        heads=int(tree.get("num_attention_heads", 12)),
        hidden=int(tree.get("intermediate_size", 3072)),
    )


def _transformer_config(tower: Transformer) -> dict[str, int]:
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.hidden,
    }
