"""The settings of `hanclip compact OUT`. Parsed here once and trusted inside."""

from __future__ import annotations

from pydantic import Field

from pipeline.validation import Options


class CompactSettings(Options):
    """Which files are rewritten, and when replaced files are deleted."""

    leave_days: int = Field(
        default=7,
        ge=0,
        description="Leave the files of the last days alone, by their run_date; 0 leaves none alone.",
    )
    grace_hours: float = Field(
        default=24.0,
        ge=0,
        description="Delete replaced files that were replaced at least this long ago; running readers may need them.",
    )
    compact_above: float = Field(
        default=1.0,
        ge=1,
        description="Do nothing unless the files are more than this many times as many as full files would be.",
    )
    drop_superseded: bool = Field(
        default=False,
        description="Leave out rows that are not the latest state of their id, also of full files that have many.",
    )
