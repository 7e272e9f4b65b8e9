"""Makes relative paths of a configuration absolute, for a driver that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import RunConfig
from pipeline.model.released import variant
from pipeline.storage import storable


def absolute(config: RunConfig) -> RunConfig:
    """The same places by names that are valid in any working directory: a stored configuration is used again."""
    model = config.model
    known = model.name == "demo" or "://" in model.name or variant(model.name)
    # `#` and an address may follow the path, for a file with several models.
    places = [model.name, model.name.rpartition("#")[0] or model.name]
    if not known and any(Path(place).expanduser().exists() for place in places):
        model = model.model_copy(update={"name": _absolute(model.name)})
    uris = tuple(storable(_absolute(uri)) for uri in config.source.uris)  # a stored configuration is UTF-8
    inventory = config.source.inventory and _absolute(config.source.inventory)
    source = config.source.model_copy(update={"uris": uris, "inventory": inventory})
    output = config.output.model_copy(update={"uri": _absolute(config.output.uri)})
    return config.model_copy(update={"source": source, "model": model, "output": output})


def _absolute(uri: str) -> str:
    return uri if "://" in uri or "::" in uri else str(Path(uri).expanduser().absolute())
