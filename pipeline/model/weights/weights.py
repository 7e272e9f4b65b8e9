"""The weights of one model: tensors by transformers' names, with their shapes, values and a digest of the values.

In: files in any of the formats that are read. Out: `Weights`. The digest covers names, shapes and float32 values and
nothing of the format, so it is the same for the authors' file and for a folder that was converted from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.model.architecture import Architecture
from pipeline.model.local.cache import cached
from pipeline.model.weights.files import weights_files
from pipeline.model.weights.naming import Move, foreign, has_resnet, is_authors, moves
from pipeline.model.weights.pickles import forget_storage
from pipeline.model.weights.shapes import from_shapes
from pipeline.model.weights.states import ModelState, find_state, some
from pipeline.model.weights.stored import Stored
from pipeline.model.weights.tensors import read_tree, read_values


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one model.

    Attributes:
        path: the file, or the index of several.
        files: the files with the tensors.
        state: the tensors by their names in the files.
        moves: where each goes, by transformers' name.
    """

    path: Path
    files: tuple[Path, ...]
    state: ModelState
    moves: dict[str, Move]

    @property
    def is_authors(self) -> bool:
        """Whether the names in the files are those of the authors' code."""
        return is_authors(self.state.tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by transformers' names."""
        return {target: move.shape(self.state.tensors[move.source].shape) for target, move in self.moves.items()}

    def architecture(self, settings: Architecture | None = None) -> Architecture:
        """Sizes of both towers, see `from_shapes`. Raises ModelError."""
        try:
            return from_shapes(self.shapes, settings)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error

    def stored(self) -> dict[str, Stored]:
        """The tensors that belong to the model, by their names in the files."""
        return {move.source: self.state.tensors[move.source] for move in self.moves.values()}

    def values(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Each tensor's name and values, in float32. Raises ModelError if a file is damaged or a value not finite."""
        broken = []
        for target, move in self.moves.items():
            values = move.values(read_values(self.state.tensors[move.source]))
            if not np.isfinite(values).all():
                broken.append(target)
            yield target, values
        forget_storage()
        if broken:
            raise ModelError(
                f"{self.path}: NaN or infinity in {len(broken)} of {len(self.moves)} tensors: {some(broken)}. Every "
                "vector would be NaN: take a checkpoint from before the training diverged, or train in float32 or "
                "bfloat16."
            )

    def digest(self) -> str:
        """SHA-256 hex digest of all names, shapes and values; cached. Raises ModelError if a file is damaged."""
        return cached("values", self.files, self.state.address, self._digest)

    def _digest(self) -> str:
        lines = [
            f"{name} {list(values.shape)} {hashlib.sha256(values.data).hexdigest()}" for name, values in self.values()
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def open_weights(folder: Path, name: str, address: str | None = None) -> Weights:
    """The weights in the file `name` of a folder, or in those that this index lists; `address` as for `find_state`.

    Raises:
        ModelError: a file is damaged or unsafe, or holds no Chinese CLIP or something besides.
    """
    path, files = folder / name, tuple(folder / file for file in weights_files(folder, name))
    tree = {key: value for file in files for key, value in read_tree(file).items()}
    state = find_state(tree, path, address)
    found = {move.target: move for move in moves(state.tensors, has_resnet(state.tensors))}
    if others := foreign(found):
        lora = any(".lora_" in f".{name}" or "base_layer" in name for name in others)
        cure = (
            "They belong to an adapter that is not merged: call merge_and_unload() on the model and save it again."
            if lora
            else "Merge them into the weights where it was trained, or save the towers and projections alone."
        )
        raise ModelError(f"{path} holds tensors that are not part of a Chinese CLIP: {some(others)}. {cure}")
    return Weights(path, files, state, found)
