"""The options of `hanclip similarity`. Parsed here once and trusted inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from pipeline.validation import Options
from pipeline.vocabulary import Dtype


class SimilarityRequest(Options):
    """A question about one image or one text; with neither, all pairs of the dataset are compared."""

    image: str | None = Field(
        default=None, description="Compare this record's image: with the texts given, else with all stored."
    )
    text: tuple[str, ...] = Field(
        default=(),
        description="A text to compare, several if given several times; the dataset's model encodes it.",
    )
    texts: str | None = Field(default=None, description="File with one such text a line.")
    text_id: tuple[str, ...] = Field(default=(), description="The stored text of this record, not encoded.")
    top: int = Field(default=20, ge=1, description="How many matches to show.")
    model: str | None = Field(
        default=None, description="Where the dataset's model is now, if not where it was when the dataset was made."
    )
    dtype: Dtype = Field(default="fp32", description="Arithmetic of the text tower.")

    @property
    def is_question(self) -> bool:
        """Whether one image or text is asked about."""
        return self.image is not None or self.texts is not None or bool(self.text or self.text_id)

    @model_validator(mode="after")
    def _all_of_use(self) -> Self:
        for wrong in self._useless():
            raise ValueError(f"{wrong}, or leave it out")
        return self

    def _useless(self) -> Iterator[str]:
        given = self.model_fields_set
        if "top" in given and not self.is_question:
            yield "--top needs a question: give --image, --text, --texts or --text-id"
        for option in ("model", "dtype"):
            if option in given and not (self.text or self.texts is not None):
                yield f"--{option} needs texts to encode: give --text or --texts"
