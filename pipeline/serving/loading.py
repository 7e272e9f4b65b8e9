"""Loads the model of a server, and describes it."""

from __future__ import annotations

import time
from pathlib import PurePath

from pipeline.curation.encoder import model_of
from pipeline.dataset.dataset import Dataset
from pipeline.errors import IdentityError
from pipeline.images.makers import pixel_makers
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.serving.contract import Encoder, ModelCard
from pipeline.serving.search.scope import described
from pipeline.serving.settings import RequestLimits, ServedModel
from pipeline.vocabulary import TextOverflow


def load(
    model: ServedModel, limits: RequestLimits, threads: int, dataset: Dataset | None = None
) -> tuple[Encoder, ModelCard]:
    """The model, and what is said of it.

    Args:
        model: which one.
        limits: those that clients should know.
        threads: CPU threads of a forward pass.
        dataset: what is searched, with its model.

    Raises:
        IdentityError: the dataset was made by another model.
        ModelError: its files are missing, damaged or do not fit each other.
    """
    from pipeline.model.chinese_clip import ChineseClip, Tuning  # torch
    from pipeline.model.hardware import set_threads

    spec = model_of(dataset, model) if dataset else resolve(model)
    overflow = text_overflow(model, dataset)
    set_threads(threads)
    tuning = Tuning(measure=True, compile=model.compile, exact=model.exact)
    clip = ChineseClip.load(spec, model.dtype, model.device, model.batch_size, tuning, overflow)
    identity = {
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "dtype": str(clip.dtype).removeprefix("torch."),
        "device": clip.device_name,
        "weights_sha256": spec.weights_sha256,
        "model_sha256": spec.model_sha256,
        "revision": spec.revision,
        "preprocessing": spec.preprocessing,
        "text_overflow": overflow,
        "computed_with": {**pixel_makers(), **clip.makers},
        "max_images": limits.max_images,
        "max_texts": limits.max_texts,
        "dataset": described(dataset) if dataset else None,
    }
    name = model.served_name or public_name(spec)
    also = (spec.name, model.name) if spec.revision else ()
    return clip, ModelCard(name, int(time.time()), identity, spec.dim, clip.logit_scale, also, overflow == "quarantine")


def text_overflow(model: ServedModel, dataset: Dataset | None) -> TextOverflow:
    """How long texts are embedded: as in the dataset, if there is one, or not at all. Raises IdentityError."""
    if dataset is None:
        return model.text_overflow
    known = dataset.identity.text_overflow
    if "text_overflow" not in model.model_fields_set or model.text_overflow == known:
        return known
    if model.text_overflow == "quarantine" and known == "truncate":
        return model.text_overflow
    raise IdentityError(
        f"--text-overflow {model.text_overflow}: the dataset at {dataset.uri} was made with {known}, and vectors of "
        "long texts would not be comparable. Leave it out."
    )


def public_name(spec: ModelSpec) -> str:
    """The model's name; of a folder or file its last part, since clients need not know where it is."""
    return spec.name if spec.revision else PurePath(spec.name).name
