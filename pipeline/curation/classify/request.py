"""The options of `hanclip classify`. Parsed here once and trusted inside."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.curation.evaluate.published import sets
from pipeline.validation import Options
from pipeline.vocabulary import Dtype


class ClassifyRequest(Options):
    """One classification. Descriptions are the command line's help."""

    out: str = Field(description="Folder of the dataset; local path or URL.")
    labels: str = Field(
        description="Labels: a text file with one class a line (tabs separate further names of a class), or JSON."
    )
    templates: tuple[str, ...] = Field(
        default=(),
        description="Set of templates that ships; a file with one template a line, {} where the label goes; or a list "
        "in a Python file, FILE.py#NAME, which is not run. Several are one list. Default: general.",
    )
    name: str = Field(
        default="classes", pattern=r"^\w[\w.-]*$", description="Name of the table: OUT/classes/NAME.parquet."
    )
    top_k: int = Field(
        default=0, ge=0, le=100, description="Also the K most probable classes of each image, as list columns."
    )
    truth: str | None = Field(
        default=None,
        description="What images really show: a column, an SQL expression over columns, or a Parquet, CSV or TSV file "
        "with id and label (or label_index). Names of classes, or their numbers from 0.",
    )
    report: str | None = Field(default=None, description="JSON file for the whole report: every class, confusion.")
    compare: str | None = Field(
        default=None, description="Show the published accuracies of this set beside it, such as imagenet or cifar100."
    )
    logit_scale: Literal["model"] | Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)] = Field(
        default=100,
        union_mode="left_to_right",
        description="Factor of cosines under the softmax: 100, as published; or the model's own, trained one.",
    )
    elevater: str | None = Field(default=None, description="Also write the ELEVATER benchmark's submission, here.")
    dataset_name: str | None = Field(default=None, description="Name of the ELEVATER set.")
    index: str | None = Field(default=None, description="index.json of the ELEVATER set, if it has one.")
    model: str | None = Field(
        default=None, description="Where the dataset's model is now, if not where it was when the dataset was made."
    )
    dtype: Dtype = Field(default="fp32", description="Arithmetic of the text tower.")

    @model_validator(mode="after")
    def _submission_is_whole(self) -> ClassifyRequest:
        if (self.elevater is None) != (self.dataset_name is None) or (self.index and not self.elevater):
            raise ValueError("--elevater FILE, --dataset-name NAME and perhaps --index FILE belong together")
        if self.report and not self.truth:
            raise ValueError("--report needs --truth: without it there is nothing to compare with")
        if self.compare and not self.truth:
            raise ValueError("--compare needs --truth: without it there is no accuracy")
        if self.compare and self.compare not in sets("classification"):
            raise ValueError(f"there are no figures of {self.compare}, but of {', '.join(sets('classification'))}")
        return self
