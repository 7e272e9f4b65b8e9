"""The file that the ELEVATER benchmark takes: probabilities of all classes, block by block, in; one JSON object out.

Rows stand as `ImageFolder` lists a test set: by folder, then by file name, each in the order of code points. The
`index.json` of a set, where there is one, rearranges them: row i of the file is row index[i] of that order.
Probabilities wait on this machine's disk, four bytes each; the file appears under its name when it is complete.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from pipeline import storage
from pipeline.errors import ConfigError, NotFoundError
from pipeline.model.released import VARIANTS

_INDEX = TypeAdapter(list[int])
_DECIMALS = 6
_SEED = 123
#: Parameters of the released models, which tell the architecture whatever the checkpoint's folder is called.
_ARCHITECTURES = {variant.parameters: variant.original_name for variant in VARIANTS}


@dataclass(frozen=True, slots=True)
class Backbone:
    """What the file says of the model: its name, its parameters, and those of its image tower."""

    name: str
    parameters: int
    visual_parameters: int

    @property
    def architecture(self) -> str:
        """The released architecture of this size, else the last part of the model's name."""
        return _ARCHITECTURES.get(self.parameters, self.name.rstrip("/").rpartition("/")[2])


class Submission:
    """Collects rows in any order; use as a context manager."""

    def __init__(self, uri: str, dataset_name: str, index_uri: str | None) -> None:
        """Open it for the set `dataset_name`; raises ConfigError when the index is none."""
        self._uri, self._dataset_name = storage.normalise(uri), dataset_name
        self._index = None if index_uri is None else _read_index(index_uri)
        self._folder = tempfile.TemporaryDirectory(prefix="hanclip-")
        self._rows = Path(self._folder.name, "rows")
        self._ids: list[str] = []

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()

    def add(self, ids: Sequence[str], probabilities: npt.NDArray[np.float32]) -> None:
        """Take the (B, C) probabilities of B images."""
        self._ids += ids
        with self._rows.open("ab") as file:
            file.write(np.ascontiguousarray(probabilities, np.float32).tobytes())

    def write(self, backbone: Backbone, classes: int) -> int:
        """Write the file, in place of one that may be there; returns its rows. Raises ConfigError, StorageError."""
        order = self._order()
        self._rows.touch()
        staged = Path(self._folder.name, "submission.json")
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
        """Numbers of the collected rows, in the order of the file."""
        listed = sorted(range(len(self._ids)), key=lambda number: self._ids[number].split("/"))
        if self._index is None:
            return listed
        return [listed[number] for number in self._checked(self._index)]

    def _checked(self, index: list[int]) -> Iterator[int]:
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
        raise ConfigError(f"{uri} is no list of row numbers: give the index.json of the ELEVATER set.") from error
