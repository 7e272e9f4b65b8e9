"""Reads the tensors in weights files, without torch and without running code from them.

In: a safetensors file, which begins with a table of its tensors, or a torch file (`pickles`). Out: the names, types and
shapes, and for one tensor at a time its values in float32.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.model.local.small_files import refuse_pointer
from pipeline.model.weights.pickles import read_storage, read_torch
from pipeline.model.weights.stored import SIZES, Stored

_FORMATS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_tree(path: Path) -> Mapping[Any, Any]:
    """The content of a weights file, with a `Stored` for each tensor. Raises ModelError if it is damaged or unsafe."""
    try:
        refuse_pointer(path)
        return _read_safetensors(path) if path.suffix == ".safetensors" else _mapping(read_torch(path))
    except ModelError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise unreadable(path, error) from error


def read_values(tensor: Stored) -> npt.NDArray[Any]:
    """The values of one tensor: float32 if they are floating-point numbers, else as stored. Raises ModelError."""
    try:
        return _values(tensor)
    except ModelError:
        raise
    except Exception as error:  # zip, numpy and the file system each raise their own
        raise unreadable(tensor.path, error) from error


def unreadable(path: Path, error: Exception) -> ModelError:
    """The error for a weights file that cannot be read."""
    first_line = str(error).strip().partition("\n")[0]
    return ModelError(
        f"{path} cannot be loaded ({type(error).__name__}: {first_line}). It is damaged, or not a checkpoint of "
        "Chinese CLIP: download or copy this file again, or give weights as training code saves them."
    )


def _mapping(tree: Any) -> Mapping[Any, Any]:
    if not isinstance(tree, Mapping):
        raise TypeError(f"a {type(tree).__name__}, not a state dict")
    return tree


def _values(tensor: Stored) -> npt.NDArray[Any]:
    if tensor.dtype not in _FORMATS:
        raise ModelError(
            f"{tensor.path} holds numbers in the format {tensor.dtype}, which hanclip does not read: save the weights "
            "in float32, float16 or bfloat16."
        )
    form = np.dtype(_FORMATS[tensor.dtype])
    if isinstance(tensor.at, int):
        with tensor.path.open("rb") as file:
            file.seek(tensor.at)
            flat = np.frombuffer(file.read(tensor.n_bytes), form)
        values = flat.reshape(tensor.shape)
    else:
        record, first = tensor.at
        flat = np.frombuffer(read_storage(tensor.path, record, tensor.dtype), form)[first:]
        values = _strided(flat, tensor)
    if tensor.dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if form.kind == "f" else values.copy()


def _strided(flat: npt.NDArray[Any], tensor: Stored) -> npt.NDArray[Any]:
    strides = tensor.strides or ()
    last = sum((length - 1) * step for length, step in zip(tensor.shape, strides, strict=True))
    # With a step back, a tensor could begin before its numbers although it ends among them. torch has none either.
    if min((*tensor.shape, *strides), default=0) < 0 or (tensor.elements and last >= len(flat)):
        raise ValueError(f"a tensor of shape {tensor.shape} and steps {strides} exceeds its {len(flat)} numbers")
    steps = [step * flat.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, steps, writeable=False)


def _read_safetensors(path: Path) -> dict[str, Stored]:
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > size:
            raise ValueError("the table of tensors is longer than the file")
        table = json.loads(file.read(length))
    found = {}
    for name, entry in table.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if 8 + length + end > size or end - begin != math.prod(shape) * SIZES.get(entry["dtype"], 1):
            raise ValueError(f"the numbers of {name} are incomplete")
        found[name] = Stored(path, entry["dtype"], shape, None, 8 + length + begin)
    return found
