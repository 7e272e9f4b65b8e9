"""The output dataset: its files, identity and schemas, and reading its rows back.

`pipeline.dataset.Dataset` opens one, `pipeline.dataset.latest` streams its current rows. Both load on first use:
a module that only needs names and layouts stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.dataset.dataset import Dataset
    from pipeline.dataset.latest_rows import latest

__all__ = ["Dataset", "latest"]


def __getattr__(name: str) -> Any:
    # keeps modules that import names and layouts light
    if name == "Dataset":
        from pipeline.dataset.dataset import Dataset

        return Dataset
    if name == "latest":
        from pipeline.dataset.latest_rows import latest

        return latest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
