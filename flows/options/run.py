"""The options of a run, made from `RunConfig`, and the run that options and a YAML file make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.options.field import METAVARS
from flows.options.model import ModelOptions
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config import RunConfig

RUN: ModelOptions[RunConfig] = ModelOptions(
    "pipeline.config:RunConfig",
    names={
        "model.name": "model",
        "source.extra_columns": "extra_column",
        "source.drop_columns": "drop_column",
        "source.http_headers": "http_header",
    },
    panels={
        "source": "Source",
        "image": "Images",
        "model": "Model",
        "output": "Output",
        "cluster": "Cluster",
    },
    metavars={
        **METAVARS,
        bool: "",
        "source.http_headers": "HEADER",
        "image.signals": "NAME,NAME",
        "cluster.decoders": "auto|N",
        "cluster.embedders": "auto|N",
    },
    switches=True,
    hidden=("source.uris", "output.uri"),  # the positional arguments: `hanclip embed SOURCE... OUT`
)


def build(paths: Sequence[str], config_file: Path | None, typed: Mapping[str, object]) -> RunConfig:
    """Lay the arguments and options over the YAML file and validate the whole.

    Args:
        paths: sources and then the output, or nothing when the file names them.
        config_file: YAML as `--print-config` writes it.
        typed: options by name; None means not given.

    Raises:
        ConfigError: a wrong key or value, or one path alone.
    """
    # keeps --help light
    from pipeline.config import parse, sections
    from pipeline.yaml_text import read_yaml

    if len(paths) == 1:
        raise ConfigError(f"Only one path was given: {paths[0]}. Give at least one source and then the output folder.")
    file = read_yaml(config_file, "Write one with --print-config.") if config_file else None
    tree = dict(sections(file)) if file else {}
    top = RUN.given(typed)
    if paths:
        top.setdefault("source", {})["uris"] = list(paths[:-1])
        top.setdefault("output", {})["uri"] = paths[-1]
    for section, values in top.items():
        below = tree.get(section) or {}
        tree[section] = {**below, **values} if isinstance(below, dict) else below
    return parse(tree, lambda path: file.label(path) if file and not _has(top, path) else ".".join(path))


def _has(tree: object, path: Sequence[str]) -> bool:
    """Whether a tree has a value at `path`, or at the key above an item of a list."""
    for key in path:
        if not isinstance(tree, dict):
            return True
        if key not in tree:
            return False
        tree = tree[key]
    return bool(path)


def build_complete(paths: Sequence[str], file: Path | None, typed: Mapping[str, object], usage: str) -> RunConfig:
    """As `build`, for a command that needs a source and an output; raises ConfigError with its `usage` otherwise."""
    config = build(paths, file, typed)
    if not (config.source.uris and config.output.uri):
        raise ConfigError(f"No source and no output were given. Write: hanclip {usage}")
    return config
