"""A run as the shell line that does it again, with every option that is not at its default."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from flows.backfill.request import BackfillRequest
from flows.jobs.target import TargetConfig
from flows.options.run import ConfigOption, all_options
from flows.options.target import all_target_options
from pipeline.config import RunConfig

#: Options of `hanclip backfill` that are not called like their field.
_BACKFILL_FLAGS = {"partitions": "--partition", "limit": "--max-partitions"}


def embed_command(config: RunConfig, target: TargetConfig | None = None) -> str:
    """`hanclip submit ...` to where `target` has its jobs run; `hanclip embed ...` for this process."""
    if target is None or target.backend == "local":
        return shlex.join(["hanclip", "embed", *_run_words(config)])
    return shlex.join(["hanclip", "submit", *_run_words(config), *_target_words(target)])


def backfill_command(config: RunConfig, request: BackfillRequest, target: TargetConfig) -> str:
    """`hanclip backfill ...`, with its jobs where this backfill had them."""
    words = ["hanclip", "backfill", *_run_words(config)]
    for name, info in BackfillRequest.model_fields.items():
        flag = _BACKFILL_FLAGS.get(name, f"--{name.replace('_', '-')}")
        words += _words(flag, getattr(request, name), info.default)
    return shlex.join([*words, *_target_words(target)])


def _target_words(target: TargetConfig) -> Iterator[str]:
    for option in all_target_options():
        yield from _words(option.flag, getattr(target, option.field), option.info.default)


def _run_words(config: RunConfig) -> Iterator[str]:
    yield from (*config.source.uris, config.output.uri)
    for option in all_options():
        if (option.section, option.field) != ("cluster", "address"):
            yield from _option_words(option, config)


def _option_words(option: ConfigOption, config: RunConfig) -> Iterator[str]:
    return _words(option.flag, getattr(getattr(config, option.section), option.field), option.info.default)


def _words(flag: str, value: object, default: object) -> Iterator[str]:
    if value == default:
        return
    if isinstance(value, bool):
        yield flag if value else f"--no-{flag[2:]}"
    else:
        for part in value if isinstance(value, tuple) else (value,):
            yield from (flag, str(part))
