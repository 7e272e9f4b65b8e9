"""Chooses the source's own columns that records carry into the output."""

from __future__ import annotations

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.vocabulary import RESERVED_COLUMNS


def choose_extra(found: pa.Schema, config: SourceConfig) -> pa.Schema:
    """The columns to carry: those that `--extra-column` names, else all of `found`.

    Raises:
        SourceError: one named is missing, or one has a name that hanclip writes itself.
    """
    wanted = found.names if config.extra_columns is None else list(config.extra_columns)
    missing = sorted(set(wanted) - set(found.names))
    if missing:
        raise SourceError(
            f"The source has no column {', '.join(missing)}; it has {', '.join(found.names) or 'none'}. "
            "Correct --extra-column."
        )
    taken = sorted(set(wanted) & set(RESERVED_COLUMNS))
    if taken:
        raise SourceError(
            f"The source's column {', '.join(taken)} has a name that hanclip writes itself. "
            "Rename it, or name the columns to keep with --extra-column."
        )
    return pa.schema([found.field(name) for name in wanted])
