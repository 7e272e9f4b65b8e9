"""A run as the shell line that does it again: `hanclip embed`, with every option that is not at its default."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from flows.options import ConfigOption, all_options
from pipeline.config import RunConfig


def embed_command(config: RunConfig) -> str:
    """One line for a shell. It runs where it is typed; the cluster of a job is left out."""
    words = ["hanclip", "embed", *config.source.uris, config.output.uri]
    for option in all_options():
        if (option.section, option.field) != ("cluster", "address"):
            words += _words(option, getattr(getattr(config, option.section), option.field))
    return shlex.join(words)


def _words(option: ConfigOption, value: object) -> Iterator[str]:
    if value == option.info.default:
        return
    if isinstance(value, bool):
        yield option.flag if value else f"--no-{option.flag[2:]}"
    else:
        for part in value if isinstance(value, tuple) else (value,):
            yield from (option.flag, str(part))
