"""From `ModelConfig` to `ModelSpec`: find a checkpoint's files, check that they fit together, digest the weights.

Cheap and without torch, so that a driver can identify a model before it starts anything. What is missing or does not
fit is told in one sentence that says what to do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.images import preprocessing_id
from pipeline.model.folders import demo_folder, file_names, find_folder
from pipeline.model.preprocessor import read_preprocessing
from pipeline.model.weights import find_weights, weights_digest

__all__ = ["CONTEXT_LENGTH", "ModelSpec", "demo_folder", "resolve"]

#: Tokens of a text, [CLS] and [SEP] included; the same for every Chinese CLIP.
CONTEXT_LENGTH = 52


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A checkpoint on this machine, ready to load.

    Attributes:
        name: as configured: `demo`, a folder, a URL or a hub id.
        folder: local path of its files.
        revision: commit, for a hub id.
        weights_sha256: hex digest of the weights, see `weights.weights_digest`.
        weights_file: name of the weights file in `folder`, or of the index of several.
        image_size: the image tower takes N x N pixels.
        image_mean, image_std: of the RGB channels, in 0 to 1.
        dim: length D of a vector.
        preprocessing: id of the way from image bytes to the tower's input.
        context_length: texts are cut after so many tokens.
    """

    name: str
    folder: str
    revision: str | None
    weights_sha256: str
    weights_file: str
    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    dim: int
    preprocessing: str
    context_length: int = CONTEXT_LENGTH


def resolve(config: ModelConfig) -> ModelSpec:
    """Find and check the checkpoint that `config` names; downloads or copies it where it is not local.

    Raises:
        ModelError: files are missing, damaged, of another kind, or not the pinned ones.
        StorageError: the store behind a URL failed.
    """
    folder, commit = find_folder(config.name, config.revision)
    dim, tower_size = _read_architecture(folder)
    images = read_preprocessing(folder)
    if images.size != tower_size:
        raise ModelError(
            f"{folder}: the preprocessor makes {images.size} pixels, the image tower takes {tower_size}. "
            "Take config.json and preprocessor_config.json from the same model."
        )
    weights_file = find_weights(file_names(folder)) or ""
    return ModelSpec(
        name=config.name,
        folder=str(folder),
        revision=commit,
        weights_sha256=_pinned_digest(config, folder, weights_file),
        weights_file=weights_file,
        image_size=images.size,
        image_mean=images.mean,
        image_std=images.std,
        dim=dim,
        preprocessing=preprocessing_id(images.size, images.mean, images.std),
    )


def _read_architecture(folder: Path) -> tuple[int, int]:
    """Length of the vectors and side of the image tower's input, from config.json."""
    path = folder / "config.json"
    try:
        tree: dict[str, Any] = json.loads(path.read_bytes())
        if tree.get("model_type") != "chinese_clip":
            raise ModelError(
                f"{path} describes a model of type {tree.get('model_type')!r}, not chinese_clip: use a Chinese CLIP "
                "model in the Hugging Face format."
            )
        return int(tree.get("projection_dim", 512)), int(tree["vision_config"].get("image_size", 224))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be understood ({error!r}): download it again from the model's page."
        ) from error


def _pinned_digest(config: ModelConfig, folder: Path, weights_file: str) -> str:
    digest = weights_digest(folder, weights_file)
    if config.weights_sha256 not in (None, digest):
        raise ModelError(
            f"{folder / weights_file} has sha256 {digest}, and {config.weights_sha256} is asked for: use the weights "
            "that were pinned, or change weights_sha256."
        )
    return digest
