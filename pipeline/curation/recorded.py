"""Reads how the vectors of a dataset were computed, for those who compute further ones.

In: a dataset. Out: its number formats and makers, from the footers of some of its files: runs may differ, and a large
dataset has thousands of files. `hanclip verify` compares those of all files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import UNKNOWN, are_exact, joined_makers, maker_values
from pipeline.dataset.outcomes import footers_of
from pipeline.images.preprocessing import deciding
from pipeline.vocabulary import Dtype

_FILES = 64
_DTYPES: Mapping[str, Dtype] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the files say.

    Attributes:
        uri: the dataset.
        dtypes: number formats in which vectors were computed; none if there is no vector.
        makers: see `pipeline.dataset.footer.MAKERS`; several values are joined by commas.
    """

    uri: str
    dtypes: tuple[Dtype, ...]
    makers: Mapping[str, str]

    @classmethod
    def of(cls, dataset: Dataset) -> Recorded:
        """Read it. Raises StorageError, RunError."""
        footers = footers_of(dataset.files(), _FILES)
        names = {name for footer in footers for name in footer["compute_dtype"].split(",")}
        dtypes = tuple(dtype for name, dtype in _DTYPES.items() if names & {name, dtype})
        return cls(dataset.uri, dtypes, joined_makers(footers))

    @property
    def exact(self) -> bool:
        """Whether all vectors were computed in passes of one shape."""
        return are_exact(self.makers)

    def differences(self, here: Mapping[str, str]) -> list[str]:
        """The makers with other values `here`, if vectors that are computed here have other bits; else none."""
        pixels = [name for name, value in deciding(here).items() if not _agree(deciding(self.makers)[name], value)]
        if not pixels and self.makers["bits"] == here["bits"]:
            return []
        names = (name for name in here if not _agree(self.makers[name], here[name]))
        return [f"{name}: {self.makers[name]} there, {here[name]} here" for name in names]


def _agree(there: str, here: str) -> bool:
    """Whether a maker is the same; a dataset without images needed none of pixels."""
    return not maker_values(there) - {UNKNOWN, here}
