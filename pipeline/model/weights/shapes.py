"""Derives the layer sizes of a Chinese CLIP from the shapes of its weights.

In: the shapes of tensors by transformers' names. Out: an `Architecture`. Training code saves no metadata with weights,
so this is all there is to know about them, except for attention heads and activations, which no shape shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

from pipeline.errors import ModelError
from pipeline.model.architecture import RESNET_STRIDE, Architecture, ResNet, Transformer, usual_heads

Shapes = Mapping[str, tuple[int, ...]]


def from_shapes(shapes: Shapes, settings: Architecture | None = None) -> Architecture:
    """Derive the sizes from the tensors' shapes, by transformers' names.

    Args:
        shapes: of all tensors.
        settings: has what no shape shows; None: as in the released models.

    Raises:
        ModelError: it is no Chinese CLIP, or of a width that the released models' heads do not divide.
    """
    try:
        words = shapes["text_model.embeddings.word_embeddings.weight"]
        is_resnet = "vision_model.attnpool.positional_embedding" in shapes
        image, patch, side = _read_resnet(shapes) if is_resnet else _read_vit(shapes, settings)
        layers = _count(shapes, "text_model.encoder.layer.")
        hidden = shapes["text_model.encoder.layer.0.intermediate.dense.weight"][0]
        heads = settings.text.heads if settings else _heads(words[1], False)
        found = Architecture(
            dim=shapes["text_projection.weight"][0],
            image_size=side * patch,
            image=image,
            patch=patch,
            text=Transformer(layers, words[1], heads, hidden),
            vocabulary=words[0],
            positions=shapes["text_model.embeddings.position_embeddings.weight"][0],
            token_types=shapes["text_model.embeddings.token_type_embeddings.weight"][0],
        )
        if settings is None:
            return found
        kept = ("image_activation", "text_activation", "image_eps", "text_eps")
        return replace(found, **{name: getattr(settings, name) for name in kept})
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"it is not a Chinese CLIP ({error} is missing): give all weights of one, both towers with their "
            "projections."
        ) from error


def _read_vit(shapes: Shapes, settings: Architecture | None) -> tuple[Transformer, int, int]:
    """The tower, its patch size, and the number of patches per image side."""
    width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    layers = _count(shapes, "vision_model.encoder.layers.")
    hidden = shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0]
    given = settings.image if settings else None
    heads = given.heads if given else _heads(width, True)
    side = _root(shapes["vision_model.embeddings.position_embedding.weight"][0] - 1)
    return Transformer(layers, width, heads, hidden), patch, side


def _read_resnet(shapes: Shapes) -> tuple[ResNet, int, int]:
    stages = tuple(_count(shapes, f"vision_model.layer{stage}.") for stage in range(1, 5))
    side = _root(shapes["vision_model.attnpool.positional_embedding"][0] - 1)
    return ResNet(stages, 2 * shapes["vision_model.conv1.weight"][0]), RESNET_STRIDE, side


def _count(shapes: Shapes, prefix: str) -> int:
    """Number of layers, whose names are `prefix` and a number."""
    return len({name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)})


def _heads(width: int, is_image: bool) -> int:
    heads = usual_heads(width, is_image)
    if not heads:
        raise ModelError(
            f"a tower is {width} wide, which is not a multiple of its heads' width in the released models: put the "
            "config.json of the model that yours was tuned from beside it."
        )
    return heads


def _root(positions: int) -> int:
    side = isqrt(max(positions, 0))
    if side * side != positions:
        raise ModelError(
            f"its image tower has {positions} positions, which are not a square: give a Chinese CLIP checkpoint."
        )
    return side
