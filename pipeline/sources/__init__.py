"""Lists and reads sources of records: folders, tars, tables, the Chinese-CLIP authors' files.

`dispatch` lists and reads a source in any format and is loaded on first use, with NumPy and Arrow: a module that only
needs the addresses of a source stays light. `contract` defines a format, `registry` finds the formats, and each format
has its own package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.sources.contract import RecordReader, Sink, SourceSpec
    from pipeline.sources.dispatch import holds_shards, is_read, is_sequential, reader, reopen, scan

__all__ = ["RecordReader", "Sink", "SourceSpec", "holds_shards", "is_read", "is_sequential", "reader", "reopen", "scan"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pipeline.sources.dispatch"), name)
