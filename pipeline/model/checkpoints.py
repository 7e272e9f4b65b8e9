"""Resolves a `ModelConfig` to a `ModelSpec`: finds the files, checks that they match, and digests the weights.

Cheap and without torch, so that a driver can identify a model before it starts anything. Each error is one sentence
that states the cure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.images.decode import CLIP_MEAN, CLIP_STD, preprocessing_id
from pipeline.model.architecture import RESNET, VIT, Architecture, from_config
from pipeline.model.files import original
from pipeline.model.files.contents import weights_digest
from pipeline.model.files.find import ModelFiles, find_files
from pipeline.model.preprocessor import Preprocessing, read_preprocessing

#: Tokens of a text, including [CLS] and [SEP]; the same for every Chinese CLIP.
CONTEXT_LENGTH = 52


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A checkpoint on this machine, ready to load.

    Attributes:
        name: as configured, with short names replaced by hub ids: `demo`, a folder, a `.pt` file, a URL or a hub id.
        folder: local path of its files.
        revision: commit, for a hub id.
        weights_sha256: hex digest of the weights, see `contents.weights_digest`.
        weights_file: name of the weights file in `folder`, or of the index of several.
        image_size: the image tower takes N x N pixels.
        image_mean, image_std: of the RGB channels, in 0 to 1.
        dim: length D of a vector.
        preprocessing: id of the processing from image bytes to the tower's input.
        context_length: texts are truncated to this number of tokens.
        vocabulary_folder: local path of the vocabulary, if it is not in `folder`.
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
    vocabulary_folder: str | None = None


def resolve(config: ModelConfig) -> ModelSpec:
    """Find and check the checkpoint that `config` names; downloads or copies it if it is not local.

    Raises:
        ModelError: files are missing, damaged, of another kind, or do not have the pinned digest.
        StorageError: the store behind a URL failed.
    """
    files = find_files(config.name, config.revision)
    sizes = read_architecture(files)
    images = preprocessing_of(files, sizes)
    if images.size != sizes.image_size:
        raise ModelError(
            f"{files.folder}: the preprocessor resizes to {images.size} pixels, the image tower takes "
            f"{sizes.image_size}. Take config.json and preprocessor_config.json from the same model."
        )
    return ModelSpec(
        name=files.name,
        folder=str(files.folder),
        revision=files.revision,
        weights_sha256=_pinned_digest(config, files.folder, files.weights_file),
        weights_file=files.weights_file,
        image_size=images.size,
        image_mean=images.mean,
        image_std=images.std,
        dim=sizes.dim,
        preprocessing=preprocessing_id(images.size, images.mean, images.std),
        vocabulary_folder=str(files.vocabulary) if files.vocabulary != files.folder else None,
    )


def read_architecture(files: ModelFiles) -> Architecture:
    """Sizes of both towers, from config.json or from the shapes in a `.pt` file. Raises ModelError."""
    if files.is_original:
        return original.read_architecture(files.folder / files.weights_file)
    path = files.folder / "config.json"
    try:
        tree: dict[str, Any] = json.loads(path.read_bytes())
        if tree.get("model_type") not in (VIT, RESNET):
            raise ModelError(
                f"{path} describes a model of type {tree.get('model_type')!r}, not {VIT}: use a Chinese CLIP "
                "model in the Hugging Face format."
            )
        return from_config(tree)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be parsed ({error!r}): download it again from the model's page.") from error


def preprocessing_of(files: ModelFiles, sizes: Architecture) -> Preprocessing:
    """Preprocessing of images: from the preprocessor's file; for a `.pt` file, as Chinese CLIP was trained."""
    if files.is_original:
        return Preprocessing(sizes.image_size, CLIP_MEAN, CLIP_STD)
    return read_preprocessing(files.folder)


def _pinned_digest(config: ModelConfig, folder: Path, weights_file: str) -> str:
    digest = weights_digest(folder, weights_file)
    if config.weights_sha256 not in (None, digest):
        raise ModelError(
            f"{folder / weights_file} has sha256 {digest}, but {config.weights_sha256} is pinned: use the pinned "
            "weights, or change weights_sha256."
        )
    return digest
