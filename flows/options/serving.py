"""The options of `hanclip serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.options.field import METAVARS
from flows.options.model import ModelOptions

if TYPE_CHECKING:
    from pipeline.serving.settings import ServeSettings

SERVE: ModelOptions[ServeSettings] = ModelOptions(
    "pipeline.serving.settings:ServeSettings",
    command="serve",
    names={"model.name": "model", "images.allowed_image_hosts": "allowed_image_host"},
    panels={
        "model": "Model",
        "network": "Network",
        "access": "Access",
        "search": "Search",
        "images": "Images by URL",
        "limits": "Limits",
        "threads": "Threads",
    },
    metavars={
        **METAVARS,
        "access.api_keys": "FILE",
        "search.dataset": "OUT",
        "images.allowed_image_hosts": "HOST",
        "threads.decode_threads": "auto|N",
        "threads.model_threads": "auto|N",
    },
    limits=False,
    switches=("model.exact",),
)
