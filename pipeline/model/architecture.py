"""The layer sizes of a Chinese CLIP, and the settings that no size shows.

In: the tree of a config.json; `weights.shapes` derives the sizes from weights. Out: an `Architecture`, which can
produce a config.json with everything that changes what the model computes and nothing else. The number of attention
heads is a setting: a head is 64 wide in every tower of the authors except the image tower of ViT-H/14, whose width of
1280 is split into heads of 80.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
        token_types: kinds of tokens in BERT's table of them; Chinese CLIP uses the first.
        image_activation, text_activation, image_eps, text_eps: the MLPs' activation and the constant in layer
            normalisation; the image tower's are of a ViT.
    """

    dim: int
    image_size: int
    image: Transformer | ResNet
    patch: int
    text: Transformer
    vocabulary: int = 21128
    positions: int = 512
    token_types: int = 2
    image_activation: str = "quick_gelu"
    text_activation: str = "gelu"
    image_eps: float = 1e-5
    text_eps: float = 1e-12

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
                "type_vocab_size": self.token_types,
                "hidden_act": self.text_activation,
                "layer_norm_eps": self.text_eps,
            },
            "vision_config": self._image_config(),
        }

    def settings(self) -> dict[str, Any]:
        """What no shape shows and differs from the released models, by its name in config.json: empty for those."""
        image, text = self.image, self.text
        usual = replace(
            self,
            image=image if isinstance(image, ResNet) else replace(image, heads=usual_heads(image.width, True)),
            text=replace(text, heads=usual_heads(text.width, False)),
            image_activation="quick_gelu",
            text_activation="gelu",
            image_eps=1e-5,
            text_eps=1e-12,
        )
        ours, theirs = self.config(), usual.config()
        return {
            f"{part}.{name}": value
            for part in ("vision_config", "text_config")
            for name, value in ours[part].items()
            if theirs[part][name] != value
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
            "hidden_act": self.image_activation,
            "layer_norm_eps": self.image_eps,
        }


def from_config(tree: Mapping[str, Any]) -> Architecture:
    """Read the tree of a config.json, with transformers' defaults. Raises KeyError and the like if it is malformed."""
    # Where an old file has both, the second one is what transformers uses.
    image = tree.get("vision_config_dict") or tree["vision_config"]
    text = tree.get("text_config_dict") or tree["text_config"]
    is_resnet = tree["model_type"] == RESNET
    _refuse_unsupported(image, text, is_resnet)
    return Architecture(
        dim=int(tree.get("projection_dim", 512)),
        image_size=int(image.get("image_size", 224)),
        image=ResNet(tuple(image["stages"]), int(image["width"])) if is_resnet else _transformer(image),
        patch=RESNET_STRIDE if is_resnet else int(image.get("patch_size", 32)),
        text=_transformer(text),
        vocabulary=int(text.get("vocab_size", 30522)),
        positions=int(text.get("max_position_embeddings", 512)),
        token_types=int(text.get("type_vocab_size", 2)),
        image_activation=str(image.get("hidden_act", "quick_gelu")),
        text_activation=str(text.get("hidden_act", "gelu")),
        image_eps=float(image.get("layer_norm_eps", 1e-5)),
        text_eps=float(text.get("layer_norm_eps", 1e-12)),
    )


def usual_heads(width: int, is_image: bool) -> int:
    """Attention heads of a tower as in the released models; 0 if its width is no multiple of theirs."""
    each = _HEAD_WIDTHS.get(width, _HEAD_WIDTH) if is_image else _HEAD_WIDTH
    return 0 if width % each else width // each


def _refuse_unsupported(image: Mapping[str, Any], text: Mapping[str, Any], is_resnet: bool) -> None:
    """Raise ModelError for settings that change what a model computes, and that hanclip does not compute."""
    wrong = []
    if text.get("position_embedding_type", "absolute") != "absolute":
        wrong.append(f"position_embedding_type {text['position_embedding_type']!r}")
    wrong += [name for name in ("is_decoder", "add_cross_attention") if text.get(name)]
    if is_resnet and image.get("heads", usual := ResNet((), int(image["width"])).heads) != usual:
        wrong.append(f"{image['heads']} heads of the pooling layer")
    if wrong:
        raise ModelError(f"it has {', '.join(wrong)}, which hanclip does not compute: give a Chinese CLIP checkpoint.")


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
