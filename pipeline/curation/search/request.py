"""What a search is asked for: queries and options. Parsed here once and trusted inside."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.sources.texts import is_blank
from pipeline.validation import Options
from pipeline.vocabulary import Side


class SearchQuery(Options):
    """One query."""

    kind: Literal["text", "image", "id"] = Field(description="What the value is.")
    value: str = Field(description="A text, the address of an image, or the id of a row.")

    @field_validator("value")
    @classmethod
    def _can_be_seen(cls, value: str) -> str:
        if is_blank(value):
            raise ValueError("a query is empty, or no character of it can be seen: write what to search for")
        return value


class WantedRows(Options):
    """Which of the rows near a vector are wanted."""

    searched: Side | None = Field(
        default=None, description="Which vectors to search: images or texts. If not given: images if there are any."
    )
    top: int = Field(default=10, ge=1, le=1000, description="Rows to find for a query.")
    where: str | None = Field(
        default=None,
        description="Search only rows for which this condition on their columns is true, in DuckDB's SQL as in filter.",
    )
    min_similarity: float | None = Field(
        default=None, ge=-1, le=1, description="Leave out rows that are less similar than this cosine."
    )
    one_per_group: bool = Field(
        default=False, description="Show one row of each group of duplicates, the nearest; needs the table of dedup."
    )
    exact: bool = Field(default=False, description="Compare every row, even if there is an index.")
    time_limit_s: float = Field(
        default=600, gt=0, description="End with an error if evaluating the condition takes longer than this."
    )

    @model_validator(mode="after")
    def _condition_to_limit(self) -> Self:
        if "time_limit_s" in self.model_fields_set and self.where is None:
            raise ValueError("--time-limit-s is about a condition: give --where, or leave it out")
        return self


class SearchRequest(WantedRows):
    """Queries, and which of their nearest rows are wanted."""

    queries: tuple[SearchQuery, ...] = Field(min_length=1, description="What to search for.")
    without: tuple[SearchQuery, ...] = Field(
        default=(), description="What the rows must not be like: the mean of these vectors is subtracted."
    )
    combine: bool = Field(default=False, description="Search once for all queries together: the mean of their vectors.")
