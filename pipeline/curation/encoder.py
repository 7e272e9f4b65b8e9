"""Loads the model of a dataset, to encode queries, labels and captions into the same space.

In: a dataset. Out: the encoder. A model with other weights, vocabulary, settings or preprocessing is refused whatever
its name, because its vectors cannot be compared with those of the dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.config import ModelConfig
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import check_model
from pipeline.errors import IdentityError
from pipeline.vocabulary import Dtype

if TYPE_CHECKING:
    from pipeline.model.checkpoints import ModelSpec
    from pipeline.model.chinese_clip import ChineseClip


def encoder_of(out: str, model: str | None = None, dtype: Dtype = "fp32") -> ChineseClip:
    """Load the model of the dataset at `out`.

    Args:
        out: the dataset.
        model: where the weights are now, if they have moved since the dataset was made.
        dtype: arithmetic; exact by default, since few texts are encoded.

    Raises:
        IdentityError: there is no dataset, or `model` is a different model.
        ModelError: the model's files are missing or damaged.
    """
    from pipeline.model.chinese_clip import ChineseClip  # keeps the commands that need no model free of torch

    dataset = Dataset.open(out)
    spec = model_of(dataset, ModelConfig(name=model) if model else ModelConfig())
    return ChineseClip.load(spec, dtype, text_overflow=dataset.identity.text_overflow)


def model_of(dataset: Dataset, asked: ModelConfig) -> ModelSpec:
    """Find the model of a dataset; what `asked` does not set is the dataset's. Raises errors as `encoder_of`."""
    from pipeline.model.checkpoints import resolve  # as above

    identity = dataset.identity
    known: dict[str, Any] = {"context_length": identity.context_length}
    if "name" not in asked.model_fields_set:
        known |= {"name": identity.model, "revision": identity.revision}
    added = {name: value for name, value in known.items() if name not in asked.model_fields_set}
    spec = resolve(asked.model_copy(update=added))
    try:
        check_model(identity, spec, dataset.uri)
    except IdentityError as error:
        raise IdentityError(f"{error}\nName the model that made the dataset with --model.") from error
    return spec
