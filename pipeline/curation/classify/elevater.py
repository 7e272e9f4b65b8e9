"""Writes the submission file of the ELEVATER benchmark.

In: the probabilities of all classes, block by block. Out: one JSON object. Rows are in the order in which `ImageFolder`
lists a test set: by folder, then by file name, each by code points. If the set has an `index.json`, row i of the file
is row index[i] of that order. Probabilities are held on the local disk, four bytes each, until the file is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from pipeline import storage
from pipeline.errors import ConfigError, NotFoundError
from pipeline.model.released import VARIANTS
from pipeline.scratch.folder import ScratchFolder

_INDEX = TypeAdapter(list[int])
_DECIMALS = 6
_SEED = 123
#: Architectures by number of parameters, which identifies them whatever the name of the checkpoint's folder.
_ARCHITECTURES = {variant.parameters: variant.original_name for variant in VARIANTS}


@dataclass(frozen=True, slots=True)
class Backbone:
    """The model as the file describes it: name, number of parameters, and those of the image tower."""

    name: str
    parameters: int
    visual_parameters: int

    @property
    def architecture(self) -> str:
        """The released architecture with this number of parameters, else the last part of the model's name."""
        return _ARCHITECTURES.get(self.parameters, self.name.rstrip("/").rpartition("/")[2])


class Submission:
    """Collects rows in any order; use as a context manager."""

    def __init__(self, uri: str, dataset_name: str, index_uri: str | None) -> None:
        """Start a submission for the set `dataset_name`. Raises ConfigError if the index is invalid."""
        self._uri, self._dataset_name = storage.normalise(uri), dataset_name
        self._index = None if index_uri is None else _read_index(index_uri)
        self._folder = ScratchFolder()
        self._rows = self._folder.path / "rows"
        self._ids: list[str] = []

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.remove()

    def add(self, ids: Sequence[str], probabilities: npt.NDArray[np.float32]) -> None:
        """Store the (B, C) probabilities of B images."""
        self._ids += ids
        with self._rows.open("ab") as file:
            file.write(np.ascontiguousarray(probabilities, np.float32).tobytes())

    def write(self, backbone: Backbone, classes: int) -> int:
        """Write or overwrite the file; returns its number of rows. Raises ConfigError, StorageError."""
        order = self._order()
        self._rows.touch()
        staged = self._folder.path / "submission.json"
        with staged.open("w", encoding="utf-8") as file, self._rows.open("rb") as rows:
            head = json.dumps(self._facts(backbone), ensure_ascii=False)
            file.write(f'{head[:-1]}, "predictions": [[')
            for position, number in enumerate(order):
                rows.seek(number * classes * 4)
                row = np.frombuffer(rows.read(classes * 4), np.float32)
                values = [round(value, _DECIMALS) for value in row.tolist()]
                file.write((", " if position else "") + json.dumps(values))
            file.write("]]}")
        storage.upload(self._uri, staged)
        return len(order)

    def _facts(self, backbone: Backbone) -> dict[str, object]:
        return {
            "model_name": f"CN-CLIP-{backbone.architecture}",
            "dataset_name": self._dataset_name,
            "num_trainable_params": 0,
            "num_params": backbone.parameters,
            "num_visual_params": backbone.visual_parameters,
            "num_backbone_params": backbone.parameters,
            "n_shot": 0,
            "rnd_seeds": [_SEED],
        }

    def _order(self) -> list[int]:
        """Numbers of the stored rows, in the order of the file."""
        listed = sorted(range(len(self._ids)), key=lambda number: self._ids[number].split("/"))
        if self._index is None:
            return listed
        return [listed[number] for number in self._in_range(self._index)]

    def _in_range(self, index: list[int]) -> Iterator[int]:
        for number in index:
            if not 0 <= number < len(self._ids):
                raise ConfigError(
                    f"The index names row {number}, and the dataset has {len(self._ids):,} images: embed the whole "
                    "test set, and give the index.json of the same set."
                )
            yield number


def _read_index(uri: str) -> list[int]:
    try:
        return _INDEX.validate_json(storage.read_bytes(storage.normalise(uri)))
    except NotFoundError as error:
        raise ConfigError(f"There is no file {uri}: check --index.") from error
    except ValidationError as error:
        raise ConfigError(f"{uri} is not a list of row numbers: give the index.json of the ELEVATER set.") from error
