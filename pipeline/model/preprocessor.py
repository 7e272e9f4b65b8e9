"""Reads a checkpoint's preprocessor file, and checks that hanclip does the same: a bicubic resize to a square.

Size, mean and deviation come from the file. Any other step that would change pixels is refused, because vectors of
pixels that differ from those in training look plausible and are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.images.preprocessing import CLIP_MEAN, CLIP_STD
from pipeline.model.local.small_files import read_json

#: The file of the released models, and the one that transformers 5 saves.
PREPROCESSOR_NAMES = ("preprocessor_config.json", "processor_config.json")

_BICUBIC = 3
_EXPECTED = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": _BICUBIC}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Input of the image tower: `size` x `size` pixels, (value / 255 - mean) / std per channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def read_preprocessing(path: Path) -> Preprocessing:
    """Read a preprocessor file. Raises ModelError if hanclip does otherwise."""
    tree = read_json(path)
    try:
        tree = tree.get("image_processor", tree)
        wrong = [f"{key}={tree[key]!r}" for key, value in _EXPECTED.items() if tree.get(key, value) != value]
        wrong += ["rescale_factor other than 1/255"] * (abs(tree.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9)
        size = _square(tree["size"])
        wrong += ["a center crop that cuts"] * _crops(tree, size)
        found = Preprocessing(size, _three(tree.get("image_mean", CLIP_MEAN)), _three(tree.get("image_std", CLIP_STD)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be parsed ({error!r}): correct it, or remove it if your model takes pixels as the released "
            "ones do."
        ) from error
    if wrong:
        raise ModelError(
            f"{path} asks for {', '.join(wrong)}; hanclip resizes to {size} x {size} with bicubic and no crop, as "
            "Chinese CLIP was trained. Correct the file if the model was trained that way, else use another model."
        )
    return found


def _square(size: Any) -> int:
    """224, {"height": 224, "width": 224} and {"shortest_edge": 224} all mean 224 here."""
    if not isinstance(size, Mapping):
        return int(size)
    sides = {int(size[key]) for key in ("height", "width", "shortest_edge") if size.get(key)}
    if len(sides) != 1:
        raise ValueError(f"size {dict(size)} is not square")
    return sides.pop()


def _crops(tree: Mapping[str, Any], size: int) -> bool:
    """Whether a center crop would change the image. A crop to the size of the resized square does not."""
    if not tree.get("do_center_crop", False):
        return False
    keeps_shape = isinstance(tree["size"], Mapping) and "shortest_edge" not in tree["size"]
    return not (keeps_shape and _square(tree.get("crop_size", 224)) == size)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
