"""Reports packages of optional extras that are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import UsageError


@contextmanager
def curate_extra(what: str) -> Iterator[None]:
    """Wraps imports that need the extra `curate`. Raises UsageError when it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs the package {error.name}: pip install 'hanclip[curate]'") from error
