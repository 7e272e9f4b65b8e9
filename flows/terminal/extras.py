"""Packages of optional extras, and the error that names a missing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    pass


@contextmanager
def curate_extra(what: str) -> Iterator[None]:
    """Imports that the extra `curate` brings. Raises UsageError where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs the package {error.name}: pip install 'hanclip[curate]'") from error
