"""Resolves a `ModelConfig` to a `ModelSpec`: finds the files, checks that they match, and digests what they hold.

Cheap and without torch, so that a driver can identify a model before it starts anything. Each error states the cure.

A model's vectors follow from its weights, an adapter, the vocabulary, the tokenizer's rules, the context length and
settings such as the activation. Each of them is a *part*, in a form that does not depend on the files' format. So the
authors' file and a folder that was converted from it have equal parts, and everything that changes a vector shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.images.preprocessing import CLIP_MEAN, CLIP_STD, first_version, preprocessing_id
from pipeline.model.architecture import Architecture
from pipeline.model.configuration import CONTEXT_LENGTH, context_length_of, read_architecture, vocabulary_of
from pipeline.model.files.contents import TOKENIZER_CONFIG
from pipeline.model.files.find import ModelFiles, find_files
from pipeline.model.local.wordpiece import (
    STANDARD_VOCABULARY_SHA256,
    Rules,
    read_rules,
    read_vocabulary,
    vocabulary_digest,
)
from pipeline.model.preprocessor import PREPROCESSOR_NAMES, Preprocessing, read_preprocessing
from pipeline.model.weights.files import weights_digest


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A checkpoint on this machine, ready to load.

    Attributes:
        name: as configured, with short names replaced by hub ids.
        folder: local path of its weights.
        revision: commit, for a hub id.
        weights_sha256: hex digest of the weights' files, see `weights_digest`.
        weights_file: name of the weights file in `folder`, or of the index of several.
        sizes: of both towers, and what else decides the arithmetic.
        image_size: the image tower takes N x N pixels.
        image_mean, image_std: of the RGB channels, in 0 to 1.
        dim: length D of a vector.
        preprocessing: id of the processing from image bytes to the tower's input.
        vocabulary: local path of the vocabulary.
        rules: of the tokenizer.
        context_length: texts are truncated to this number of tokens.
        parts: what the vectors follow from, as plain JSON values; see the module.
        address: which of the models in the weights file; None if it holds one.
        adapter: local path of a LoRA adapter to merge.
    """

    name: str
    folder: str
    revision: str | None
    weights_sha256: str
    weights_file: str
    sizes: Architecture
    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    dim: int
    preprocessing: str
    vocabulary: str
    rules: Rules
    context_length: int
    parts: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None
    adapter: str | None = None

    @property
    def model_sha256(self) -> str:
        """Hex digest of everything that the vectors follow from. Digests that users pinned before stay valid."""
        tree = {"preprocessing": first_version(self.preprocessing), **self.parts}
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()

    @property
    def unusual(self) -> tuple[str, ...]:
        """Names of the parts that differ from those of the released models; weights always do."""
        usual: dict[str, Any] = {
            "adapter": None,
            "vocabulary": STANDARD_VOCABULARY_SHA256,
            "tokenizer": {},
            "context_length": CONTEXT_LENGTH,
            "configuration": {},
        }
        return tuple(name for name, value in usual.items() if self.parts[name] != value)


def resolve(config: ModelConfig) -> ModelSpec:
    """Find and check the checkpoint that `config` names; downloads or copies it if it is not local.

    Raises:
        ModelError: files are missing, damaged, of another kind, or do not have the pinned digest.
        StorageError: the store behind a URL failed.
    """
    spec = describe(find_files(config.name, config.revision), config.context_length)
    for name, digest in (("weights_sha256", spec.weights_sha256), ("model_sha256", spec.model_sha256)):
        pinned = getattr(config, name)
        if pinned not in (None, digest):
            raise ModelError(
                f"{Path(spec.folder) / spec.weights_file} has {name} {digest}, but {pinned} is pinned: use the pinned "
                f"model, or change {name}."
            )
    return spec


def describe(files: ModelFiles, context_length: int | None = None) -> ModelSpec:
    """The checkpoint in local files; `context_length` if it is not the model's own. Raises ModelError."""
    sizes = read_architecture(files)
    images = _preprocessing_of(files, sizes)
    vocabulary = vocabulary_of(files, sizes)
    tokenizer = vocabulary if vocabulary.suffix == ".json" else None
    rules = read_rules(files.find([TOKENIZER_CONFIG]), tokenizer)
    tokens = context_length_of(files, sizes, context_length)
    adapter = files.read_adapter
    if adapter is not None:
        adapter.merged_into(files.weights.shapes)  # raises if it does not fit
    return ModelSpec(
        name=files.name,
        folder=str(files.folder),
        revision=files.revision,
        weights_sha256=weights_digest(files.folder, files.weights_file),
        weights_file=files.weights_file,
        sizes=sizes,
        image_size=images.size,
        image_mean=images.mean,
        image_std=images.std,
        dim=sizes.dim,
        preprocessing=preprocessing_id(images.size, images.mean, images.std),
        vocabulary=str(vocabulary),
        rules=rules,
        context_length=tokens,
        parts={
            "weights": files.weights.digest(),
            "adapter": adapter.digest if adapter else None,
            "vocabulary": vocabulary_digest(read_vocabulary(vocabulary)),
            "tokenizer": rules.settings(),
            "context_length": tokens,
            "configuration": sizes.settings(),
        },
        address=files.address,
        adapter=str(files.adapter) if files.adapter else None,
    )


def _preprocessing_of(files: ModelFiles, sizes: Architecture) -> Preprocessing:
    """Preprocessing of images: from the preprocessor's file of a folder, else as Chinese CLIP was trained."""
    path = files.find(PREPROCESSOR_NAMES)
    if path is None or not files.is_folder:
        return Preprocessing(sizes.image_size, CLIP_MEAN, CLIP_STD)
    images = read_preprocessing(path)
    if images.size != sizes.image_size:
        raise ModelError(
            f"{path}: the preprocessor resizes to {images.size} pixels, the image tower takes {sizes.image_size}. "
            f"Correct the size, or remove {path.name}: then images are resized to {sizes.image_size} pixels."
        )
    return images
