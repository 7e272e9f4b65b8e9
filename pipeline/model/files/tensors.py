"""Reads names, types and shapes of the tensors in a weights file, without torch and without running code from it.

A safetensors file begins with a table of them. A torch file is a pickle with the raw numbers next to it; it is
unpickled with inert stand-ins for all classes, and a name that torch's own safe loading would refuse is refused too.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from pipeline.errors import ModelError
from pipeline.model.files.contents import weights_files

_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_LEGACY_HEADER_PICKLES = 3  # magic number, protocol and byte order precede the data in files of torch < 1.6
#: Keys under which a checkpoint keeps its weights; others hold the step, the optimizer and the like.
_STATES = ("state_dict", "model")


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file: its type by safetensors' name, its shape, and the position of its numbers.

    `at` is the byte offset in a safetensors file, or the record and the element in a torch file.
    """

    dtype: str
    shape: tuple[int, ...]
    at: int | tuple[str, int]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * _SIZES.get(self.dtype, 1)


def stored_tensors(folder: Path, weights_file: str) -> dict[str, Stored]:
    """Tensors of a model's weights by the names in the file. Raises ModelError if a file is damaged or unsafe."""
    found: dict[str, Stored] = {}
    for name in weights_files(folder, weights_file):
        path = folder / name
        try:
            found.update(_read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path))
        except ModelError:
            raise
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise unreadable(path, error) from error
    return found


def stored_bytes(folder: Path, weights_file: str) -> int:
    """Size of the weights as stored, without an optimizer's state."""
    if weights_file.endswith(".pt"):
        return sum(tensor.n_bytes for tensor in stored_tensors(folder, weights_file).values())
    return sum((folder / name).stat().st_size for name in weights_files(folder, weights_file))


def state_of(tree: Any) -> Mapping[str, Any]:
    """The weights in a torch file's content: under `state_dict` or `model`, else all of it."""
    if not isinstance(tree, Mapping):
        raise TypeError(f"a {type(tree).__name__}, not a state dict")
    return next((tree[key] for key in _STATES if isinstance(tree.get(key), Mapping)), tree)


def read_scalar(path: Path, tensor: Stored) -> float | None:
    """The value of a tensor with one element; None if the file's format does not allow reading it."""
    form = {"F64": "<d", "F32": "<f", "F16": "<e"}.get(tensor.dtype)
    if form is None or tensor.elements != 1:
        return None
    n_bytes = struct.calcsize(form)
    if isinstance(tensor.at, int):
        with path.open("rb") as file:
            file.seek(tensor.at)
            return float(struct.unpack(form, file.read(n_bytes))[0])
    if not zipfile.is_zipfile(path):
        return None
    record, element = tensor.at
    with zipfile.ZipFile(path) as archive, archive.open(f"{_root(archive)}/data/{record}") as file:
        file.seek(element * n_bytes)
        return float(struct.unpack(form, file.read(n_bytes))[0])


def unreadable(path: Path, error: Exception) -> ModelError:
    """The error for a weights file that cannot be read."""
    first_line = str(error).strip().partition("\n")[0]
    return ModelError(
        f"{path} cannot be loaded ({type(error).__name__}: {first_line}). It is damaged, or not a checkpoint of "
        "Chinese CLIP: download the model's files again, or give weights as its authors release them."
    )


def _read_safetensors(path: Path) -> dict[str, Stored]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError("the table of tensors is longer than the file")
        table = json.loads(file.read(length))
    return {
        name: Stored(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in table.items()
        if name != "__metadata__"
    }


def _read_torch(path: Path) -> dict[str, Stored]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open(f"{_root(archive)}/data.pkl") as file:
            tree = _InertUnpickler(file, path).load()
    else:
        with path.open("rb") as file:
            for _ in range(_LEGACY_HEADER_PICKLES):
                _InertUnpickler(file, path).load()
            tree = _InertUnpickler(file, path).load()
    return {name: tensor for name, tensor in state_of(tree).items() if isinstance(tensor, Stored)}


def _root(archive: zipfile.ZipFile) -> str:
    """The folder inside a torch file, named after the file as it was first saved."""
    return next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("/data.pkl")


class _Ignored:
    """Stands in for a value that is not a tensor."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _tensor(storage: tuple[str, str], offset: int, size: tuple[int, ...], *_: object) -> Stored:
    return Stored(storage[0], tuple(size), (storage[1], offset))


def _parameter(tensor: Stored, *_: object) -> Stored:
    return tensor


#: Names that a checkpoint may contain, with their stand-ins, which only keep their arguments.
_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{storage}": dtype for storage, dtype in _STORAGES.items()},
    **dict.fromkeys(
        (
            "torch.Size",
            "torch.device",
            "_codecs.encode",
            "numpy.dtype",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
        ),
        _Ignored,
    ),
}


class _InertUnpickler(pickle.Unpickler):
    """Loads a checkpoint with `Stored` in place of tensors and `_Ignored` in place of other objects."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _ALLOWED.get(f"{module}.{name}")
        if stand_in is None:
            raise ModelError(
                f"{self._path} cannot be loaded: it holds a {module}.{name}, which is not a weight and might run code. "
                "If you trust the file, save its weights alone: torch.save({'state_dict': ...}, file)."
            )
        return stand_in

    def persistent_load(self, reference: Any) -> tuple[str, str]:
        _, dtype, record, *_ = reference
        return dtype, record
