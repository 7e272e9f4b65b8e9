"""The model that made a dataset, to put queries, labels and captions into the same space.

In: a dataset. Out: the loaded encoder. Other weights or other preprocessing give vectors that do not compare, so they
are refused, whatever the model is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import ModelConfig
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import check_model
from pipeline.errors import IdentityError
from pipeline.vocabulary import Dtype

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip


def encoder_of(out: str, model: str | None = None, dtype: Dtype = "fp32") -> ChineseClip:
    """Load the model of the dataset at `out`.

    Args:
        out: the dataset.
        model: where its weights are now, if no longer where they were when the dataset was made.
        dtype: arithmetic; as a rule exact, for it is a few texts against vectors that stay.

    Raises:
        IdentityError: there is no dataset, or `model` is another model.
        ModelError: the model's files are missing or damaged.
    """
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip

    dataset = Dataset.open(out)
    made_by = dataset.identity
    spec = resolve(ModelConfig(name=model or made_by.model, revision=None if model else made_by.revision))
    try:
        check_model(made_by, spec, dataset.uri)
    except IdentityError as error:
        raise IdentityError(f"{error}\nName the model that made the dataset with --model.") from error
    return ChineseClip.load(spec, dtype, text_overflow=made_by.text_overflow)
