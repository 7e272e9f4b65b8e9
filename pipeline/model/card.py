"""Describes a model without loading it: sizes, parameters, and where its files are.

In: a name as for `--model`. Out: a `Card`. A released model is described even if it is not on this machine; `missing`
then states what to download. Nothing is downloaded here, and torch is not needed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ModelError
from pipeline.extras import MissingPackageError
from pipeline.model.architecture import Architecture
from pipeline.model.checkpoints import ModelSpec, describe
from pipeline.model.configuration import CONTEXT_LENGTH
from pipeline.model.files.find import ModelFiles, find_files
from pipeline.model.local.wordpiece import STANDARD_VOCABULARY_SHA256
from pipeline.model.released import Variant, variant
from pipeline.model.weights.tensors import read_values

#: exp of the trained parameter; training clips it at this value.
_RELEASED_LOGIT_SCALE = 100.0
_IMAGE_PREFIXES = ("vision_model.", "visual_projection.")
_NOT_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class HeldFiles:
    """The files of a model on this machine.

    Attributes:
        path: the weights file, or the index of several.
        revision: commit, for a model of the hub.
        sha256: hex digest of the weights, as stored in datasets.
        size_bytes: of the weights, without an optimizer's state.
        dtype: format of most of their numbers, by safetensors' name.
        vocabulary: path of the vocabulary.
        vocabulary_is_standard: whether it is the one of the released models.
        model_sha256: hex digest of everything that the vectors follow from.
        parts: what that is, see `pipeline.model.checkpoints`.
        adapter: path of a LoRA adapter that is merged.
    """

    path: str
    revision: str | None
    sha256: str
    size_bytes: int
    dtype: str
    vocabulary: str
    vocabulary_is_standard: bool
    model_sha256: str
    parts: Mapping[str, Any]
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Card:
    """The description of a model.

    Attributes:
        name: as given.
        hub_id: of a released model.
        sizes: of both towers.
        image_parameters, text_parameters: of each tower with its projection.
        logit_scale: the trained factor on cosines; None if unknown.
        weights: its files; None if they are not on this machine.
        missing: if they are not: what to download and where to put it.
        context_length: texts are truncated to this number of tokens.
    """

    name: str
    hub_id: str | None
    sizes: Architecture
    image_parameters: int
    text_parameters: int
    logit_scale: float | None
    weights: HeldFiles | None
    missing: str | None
    context_length: int = CONTEXT_LENGTH

    @property
    def parameters(self) -> int:
        """Of the whole model, including the logit scale."""
        return self.image_parameters + self.text_parameters + 1


def card(name: str, revision: str | None = None, context_length: int | None = None) -> Card:
    """Describe model `name`. Raises ModelError if it is neither released nor on this machine."""
    known = variant(name)
    try:
        files = find_files(name, revision, fetch=False)
    except (ModelError, MissingPackageError) as error:
        if known is None:
            raise
        return _released(name, known, str(error))
    return _described(name, known, files, describe(files, context_length))


def _released(name: str, known: Variant, missing: str) -> Card:
    return Card(
        name=name,
        hub_id=known.hub_id,
        sizes=known.architecture,
        image_parameters=known.image_parameters,
        text_parameters=known.text_parameters,
        logit_scale=_RELEASED_LOGIT_SCALE,
        weights=None,
        missing=missing,
    )


def _described(name: str, known: Variant | None, files: ModelFiles, spec: ModelSpec) -> Card:
    shapes = files.weights.shapes.items()
    parameters = {key: math.prod(shape) for key, shape in shapes if not key.endswith(_NOT_PARAMETERS)}
    image = sum(count for key, count in parameters.items() if key.startswith(_IMAGE_PREFIXES))
    return Card(
        name=name,
        hub_id=known.hub_id if known else None,
        sizes=spec.sizes,
        image_parameters=image,
        text_parameters=sum(parameters.values()) - image - 1,
        logit_scale=_logit_scale(files),
        weights=_held(files, spec),
        missing=None,
        context_length=spec.context_length,
    )


def _held(files: ModelFiles, spec: ModelSpec) -> HeldFiles:
    formats: Counter[str] = Counter()
    stored = files.weights.stored().values()
    for tensor in stored:
        formats[tensor.dtype] += tensor.elements
    return HeldFiles(
        path=str(files.folder / files.weights_file),
        revision=files.revision,
        sha256=spec.weights_sha256,
        size_bytes=sum(tensor.n_bytes for tensor in stored),
        dtype=formats.most_common(1)[0][0],
        vocabulary=spec.vocabulary,
        vocabulary_is_standard=spec.parts["vocabulary"] == STANDARD_VOCABULARY_SHA256,
        model_sha256=spec.model_sha256,
        parts=spec.parts,
        adapter=spec.adapter,
    )


def _logit_scale(files: ModelFiles) -> float | None:
    found = files.weights.stored().get("logit_scale")
    return None if found is None else math.exp(float(read_values(found)))
