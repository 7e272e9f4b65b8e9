"""Loads the model of a server, and describes it.

With a dataset, what was not asked for is the dataset's: the model, its number format, what becomes of long texts, and
whether passes have one shape. What was asked for must be the dataset's too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pipeline.curation.encoder import model_of
from pipeline.curation.recorded import Recorded
from pipeline.dataset.dataset import Dataset
from pipeline.errors import IdentityError
from pipeline.images.makers import pixel_makers
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.released import variant
from pipeline.serving.contract import Encoder, ModelCard
from pipeline.serving.search.scope import described
from pipeline.serving.settings import RequestLimits, ServedModel
from pipeline.validation import validated
from pipeline.vocabulary import TextOverflow

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip


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
        IdentityError: the dataset was made by another model, in another number format, or has other bits.
        ConfigError: an option does not go with how the dataset was made.
        ModelError: its files are missing, damaged or do not fit each other.
    """
    spec = model_of(dataset, model) if dataset else resolve(model)
    recorded = Recorded.of(dataset) if dataset else None
    if recorded:
        model = as_recorded(model, recorded)
    clip = _loaded(spec, model, text_overflow(model, dataset), threads)
    identity = _identity(clip, spec)
    if recorded and recorded.exact and model.exact:
        require_same_bits(recorded, identity["computed_with"])
    identity |= {
        "max_images": limits.max_images,
        "max_texts": limits.max_texts,
        "dataset": described(dataset) if dataset else None,
    }
    name = model.served_name or public_name(spec)
    also = also_called(spec.name, model) if spec.revision else ()
    refuses_long_texts = clip.text_overflow == "quarantine"
    return clip, ModelCard(name, int(time.time()), identity, spec.dim, clip.logit_scale, also, refuses_long_texts)


def _loaded(spec: ModelSpec, model: ServedModel, overflow: TextOverflow, threads: int) -> ChineseClip:
    from pipeline.model.chinese_clip import ChineseClip, Tuning  # torch
    from pipeline.model.hardware import set_threads

    set_threads(threads)
    tuning = Tuning(measure=True, compile=model.compile, exact=model.exact)
    return ChineseClip.load(spec, model.dtype, model.device, model.batch_size, tuning, overflow)


def _identity(clip: ChineseClip, spec: ModelSpec) -> dict[str, Any]:
    """What the vectors follow from; `computed_with` has the names and values of a dataset's footers."""
    return {
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "dtype": str(clip.dtype).removeprefix("torch."),
        "device": clip.device_name,
        "exact": clip.shape is not None,
        "computed_with": {**pixel_makers(), **clip.makers},
        "weights_sha256": spec.weights_sha256,
        "model_sha256": spec.model_sha256,
        "revision": spec.revision,
        "preprocessing": spec.preprocessing,
        "text_overflow": clip.text_overflow,
    }


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


def as_recorded(model: ServedModel, recorded: Recorded) -> ServedModel:
    """`model` with what was not asked for as the rows of a dataset were computed.

    Raises:
        IdentityError: it was asked for the bits of the dataset, and cannot give them.
        ConfigError: an option does not go with passes of one shape.
    """
    formats = recorded.dtypes
    chosen = "dtype" in model.model_fields_set and model.dtype != "auto"
    exact = model.exact if "exact" in model.model_fields_set else recorded.exact
    if exact and formats and not recorded.exact:
        raise IdentityError(
            f"--exact: not all vectors of {recorded.uri} were computed with --exact. Leave it out, or embed the "
            "catalog with --exact into another OUT."
        )
    if exact and formats and chosen and model.dtype not in formats:
        raise IdentityError(
            f"--dtype {model.dtype}: the vectors of {recorded.uri} were computed in {' and '.join(formats)} with "
            "--exact. Leave it out, or add --no-exact."
        )
    taken: dict[str, object] = {"exact": exact}
    if formats and not chosen:
        taken["dtype"] = formats[0]
    asked = model.model_dump(exclude_unset=True)
    summary = f"{recorded.uri} was made with --exact, and is served so unless --no-exact is given"
    return validated(ServedModel, asked | taken, summary)


def require_same_bits(recorded: Recorded, makers: Mapping[str, str]) -> None:
    """Raise IdentityError if `makers` give other bits than the rows of a dataset have."""
    differences = recorded.differences(makers)
    if differences:
        raise IdentityError(
            f"This server would not give the bits of the vectors of {recorded.uri}, which was made with --exact:\n  "
            + "\n  ".join(differences)
            + "\nServe it where these are the same, or with --no-exact, which gives vectors that differ by rounding."
        )


def also_called(name: str, model: ServedModel) -> tuple[str, ...]:
    """Further names in requests of the model of the hub `name`: its own, its short one, and the one that was given.

    With a dataset, the name that was not given is a default that says nothing about the model.
    """
    known = variant(name)
    given = (model.name,) if "name" in model.model_fields_set else ()
    return (name, *((known.name,) if known else ()), *given)


def public_name(spec: ModelSpec) -> str:
    """The model's name; of a folder or file its last part, since clients need not know where it is."""
    return spec.name if spec.revision else PurePath(spec.name).name
