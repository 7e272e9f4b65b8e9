"""Describes a model without loading it: sizes, parameters, and where its files are.

In: a name as for `--model`. Out: a `Card`. A released model is described even if it is not on this machine; `missing`
then states what to download. Nothing is downloaded here, and torch is not needed.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.extras import MissingPackageError
from pipeline.model.architecture import Architecture
from pipeline.model.checkpoints import CONTEXT_LENGTH, preprocessing_of, read_architecture
from pipeline.model.files.contents import vocabulary_file, weights_digest
from pipeline.model.files.find import ModelFiles, find_files
from pipeline.model.files.tensors import Stored, read_scalar, stored_tensors
from pipeline.model.released import Variant, variant

#: The vocabulary of every released Chinese CLIP: that of Google's BERT for Chinese, 21,128 lines.
STANDARD_VOCABULARY_SHA256 = "45bbac6b341c319adc98a532532882e91a9cefc0329aa57bac9ae761c27b291c"
#: exp of the trained parameter; training clips it at this value.
_RELEASED_LOGIT_SCALE = 100.0
_IMAGE_PREFIXES = ("vision_model.", "visual_projection.", "visual.")
_NOT_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked", "position_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a model on this machine.

    Attributes:
        path: the weights file, or the index of several.
        revision: commit, for a model of the hub.
        sha256: hex digest of the weights, as stored in datasets.
        size_bytes: of the weights, without an optimizer's state.
        dtype: format of most of their numbers, by safetensors' name.
        vocabulary: path of the vocabulary.
        vocabulary_is_standard: whether it is the one of the released models.
    """

    path: str
    revision: str | None
    sha256: str
    size_bytes: int
    dtype: str
    vocabulary: str
    vocabulary_is_standard: bool


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
    weights: Weights | None
    missing: str | None
    context_length: int = CONTEXT_LENGTH

    @property
    def parameters(self) -> int:
        """Of the whole model, including the logit scale."""
        return self.image_parameters + self.text_parameters + 1


def card(name: str, revision: str | None = None) -> Card:
    """Describe model `name`. Raises ModelError if it is neither released nor on this machine."""
    known = variant(name)
    try:
        files = find_files(name, revision, fetch=False)
    except (ModelError, MissingPackageError) as error:
        if known is None:
            raise
        return _released(name, known, str(error))
    return _described(name, known, files)


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


def _described(name: str, known: Variant | None, files: ModelFiles) -> Card:
    sizes = read_architecture(files)
    preprocessing_of(files, sizes)  # raises what `hanclip embed` would raise
    stored = stored_tensors(files.folder, files.weights_file)
    parameters = {key: tensor.elements for key, tensor in stored.items() if _is_parameter(key)}
    image = sum(count for key, count in parameters.items() if _plain(key).startswith(_IMAGE_PREFIXES))
    return Card(
        name=name,
        hub_id=known.hub_id if known else None,
        sizes=sizes,
        image_parameters=image,
        text_parameters=sum(parameters.values()) - image - 1,
        logit_scale=_logit_scale(files, stored),
        weights=_weights(files, stored),
        missing=None,
    )


def _weights(files: ModelFiles, stored: dict[str, Stored]) -> Weights:
    words = vocabulary_file(files.vocabulary)
    formats: Counter[str] = Counter()
    for tensor in stored.values():
        formats[tensor.dtype] += tensor.elements
    return Weights(
        path=str(files.folder / files.weights_file),
        revision=files.revision,
        sha256=weights_digest(files.folder, files.weights_file),
        size_bytes=sum(tensor.n_bytes for tensor in stored.values()),
        dtype=formats.most_common(1)[0][0],
        vocabulary=str(words),
        vocabulary_is_standard=_sha256(words) == STANDARD_VOCABULARY_SHA256,
    )


def _logit_scale(files: ModelFiles, stored: dict[str, Stored]) -> float | None:
    if files.weights_file.endswith(".json"):
        return None  # it is in one of several files
    found = next((tensor for key, tensor in stored.items() if _plain(key) == "logit_scale"), None)
    value = read_scalar(files.folder / files.weights_file, found) if found else None
    return None if value is None else math.exp(value)


def _is_parameter(key: str) -> bool:
    return not key.endswith(_NOT_PARAMETERS) and ".pooler." not in key


def _plain(key: str) -> str:
    return key.removeprefix("module.")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
