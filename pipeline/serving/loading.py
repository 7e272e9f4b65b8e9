"""Loads the model of a server, and describes it."""

from __future__ import annotations

import time
from pathlib import PurePath

from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.serving.contract import Encoder, ModelCard
from pipeline.serving.settings import RequestLimits, ServedModel


def load(model: ServedModel, limits: RequestLimits, threads: int) -> tuple[Encoder, ModelCard]:
    """The model, and what is said of it.

    Args:
        model: which one.
        limits: those that clients should know.
        threads: CPU threads of a forward pass.

    Raises:
        ModelError: its files are missing, damaged or do not fit each other.
    """
    from pipeline.model.chinese_clip import ChineseClip, Tuning, set_threads  # torch

    spec = resolve(model)
    set_threads(threads)
    tuning = Tuning(measure=True, compile=model.compile)
    clip = ChineseClip.load(spec, model.dtype, model.device, model.batch_size, tuning, model.text_overflow)
    identity = {
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "dtype": str(clip.dtype).removeprefix("torch."),
        "device": clip.device_name,
        "weights_sha256": spec.weights_sha256,
        "model_sha256": spec.model_sha256,
        "revision": spec.revision,
        "preprocessing": spec.preprocessing,
        "text_overflow": model.text_overflow,
        "libraries": clip.libraries,
        "max_images": limits.max_images,
        "max_texts": limits.max_texts,
    }
    name = model.served_name or public_name(spec)
    also = (spec.name, model.name) if spec.revision else ()
    refuses = model.text_overflow == "quarantine"
    return clip, ModelCard(name, int(time.time()), identity, spec.dim, clip.logit_scale, also, refuses)


def public_name(spec: ModelSpec) -> str:
    """The model's name; of a folder or file its last part, since clients need not know where it is."""
    return spec.name if spec.revision else PurePath(spec.name).name
