"""The registered source formats: those that `vocabulary.SourceKind` names.

A format is a package here of the same name (with `_` for `-`) that defines a `SourceFormat` called `FORMAT`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast, get_args

from pipeline.sources.contract import SourceFormat
from pipeline.vocabulary import SourceKind


@cache
def formats() -> dict[SourceKind, SourceFormat]:
    """Every format by name. Imported on the first call, since formats use this module to find their own files."""
    packages = {name: import_module(f"{__package__}.{name.replace('-', '_')}") for name in get_args(SourceKind)}
    return {name: cast(SourceFormat, package.FORMAT) for name, package in packages.items()}
