"""The options of `hanclip evaluate`, and which of them go together. Parsed here once and trusted inside."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from pipeline.curation.evaluate import published
from pipeline.errors import ConfigError
from pipeline.validation import Options
from pipeline.vocabulary import Dtype

_NAME = re.compile(r"\w[\w.-]*")
#: What --published goes with; the direction has a default.
_OF_PUBLISHED = {"published", "set_name", "published_model", "direction"}


class EvaluateRequest(Options):
    """One evaluation. Descriptions are the command line's help."""

    out: str | None = Field(default=None, description="Dataset; local path or URL.")
    pairs: str | None = Field(
        default=None, description="JSON lines of text_id, text, image_ids: texts to ask, instead of the dataset's own."
    )
    image_features: str | None = Field(default=None, description="Instead of OUT: *.img_feat.jsonl.")
    text_features: str | None = Field(default=None, description="Vectors of the texts: *.txt_feat.jsonl.")
    where: str | None = Field(default=None, description="Rows of OUT that take part, in DuckDB.")
    sample: int | None = Field(default=None, ge=1, description="Ask this many of the dataset's own texts.")
    direction: Literal["both", "text-to-image", "image-to-text"] = Field(default="both", description="What is asked.")
    model: str | None = Field(
        default=None, description="The dataset's model, if it is elsewhere now; it encodes the texts."
    )
    dtype: Dtype | None = Field(default=None, description="Arithmetic of the texts; fp32 if not given.")
    predictions: str | None = Field(default=None, description="Write what was found, and output.json.")
    split: str | None = Field(default=None, description="Name of the pairs, if not that of the file.")
    compare: bool = Field(default=False, description="Show published figures beside it.")
    published: bool = Field(default=False, description="List published figures; stop.")
    set_name: str | None = Field(default=None, description="muge, flickr30k-cn, coco-cn, ...")
    published_model: str | None = Field(
        default=None, description="vit-b-16, ..., if the model's name does not show it."
    )

    @property
    def split_name(self) -> str | None:
        """`valid` for `valid_texts.jsonl`."""
        if self.split or not self.pairs:
            return self.split
        from pipeline import storage  # keeps --help light

        stem = storage.name(self.pairs).partition(".")[0]
        return re.sub(r"_(texts|queries)$", "", stem)

    def check(self) -> None:
        """Raise ConfigError for options that conflict or have no effect."""
        for wrong, message in (*self._wrong_inputs(), *self._wrong_names()):
            if wrong:
                raise ConfigError(message)

    def check_published(self) -> None:
        """Raise ConfigError for options that --published, which evaluates nothing, would ignore."""
        if {name for name in self.model_fields_set if getattr(self, name)} - _OF_PUBLISHED:
            raise ConfigError(
                "--published only lists figures: omit all other options but --set and --published-model, or omit it "
                "and add --compare to see figures with a score."
            )

    def _wrong_inputs(self) -> tuple[tuple[object, str], ...]:
        return (
            (not self.out and not self.image_features, "Nothing to evaluate: give OUT, or --image-features."),
            (self.out and self.image_features, "OUT and --image-features are both images: give one of them."),
            (not self.pairs and (self.image_features or self.text_features), "Feature files need --pairs FILE."),
            (self.image_features and not self.text_features, "--image-features needs --text-features FILE."),
            (self.where and not self.out, "--where chooses rows of OUT: leave it out, or give OUT."),
            (self.sample and self.pairs, "--sample draws from a dataset's own pairs: leave out --pairs or --sample."),
            (self.predictions and not self.pairs, "--predictions are written for --pairs FILE: give them too."),
            (
                (self.model or self.dtype) and (not self.pairs or self.text_features),
                "--model and --dtype encode the texts of --pairs FILE for OUT: leave them out, or give such pairs.",
            ),
        )

    def _wrong_names(self) -> tuple[tuple[object, str], ...]:
        split, sets = self.split, published.sets("retrieval")
        return (
            (
                split is not None and not _NAME.fullmatch(split),
                f"--split {split!r} is not a valid name: use letters, digits, dots and dashes, such as valid.",
            ),
            (
                split and not self.predictions and not self.compare,
                "--split names --predictions and chooses figures of --compare: leave it out, or give one of them.",
            ),
            (
                (self.set_name or self.published_model) and not self.compare,
                "--set and --published-model choose published figures: give --compare or --published too.",
            ),
            (self.compare and not self.set_name, f"--compare needs --set, one of {', '.join(sets)}."),
            (
                self.compare and self.set_name not in sets,
                f"There are no published figures of --set {self.set_name}: give one of {', '.join(sets)}.",
            ),
        )
