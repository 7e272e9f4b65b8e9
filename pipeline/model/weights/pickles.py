"""Reads what a torch file holds, without torch and without running code from it.

A torch file is a pickle with the raw numbers next to it: in a zip archive, or after the pickle in files of torch < 1.6.
It is unpickled with inert stand-ins for all classes, and a name that a checkpoint has no use for is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from pipeline.errors import ModelError
from pipeline.model.weights.stored import SIZES, Stored

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
_COUNT_BYTES = 8  # before each storage of such a file


def read_torch(path: Path) -> Any:
    """The content of a torch file, with a `Stored` for each tensor. Raises ModelError if it is unsafe or TorchScript.

    A damaged file raises nearly anything.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            root = _root(archive)
            if f"{root}/constants.pkl" in archive.namelist():
                raise ModelError(
                    f"{path} is a TorchScript program, not weights alone: save its weights with `torch.save("
                    "{'state_dict': torch.jit.load(FILE).state_dict()}, 'weights.pt')` and give that file."
                )
            with archive.open(_unchecked_if_unsummed(archive, f"{root}/data.pkl")) as file:
                return _InertUnpickler(file, path).load()
    with path.open("rb") as file:
        for _ in range(_LEGACY_HEADER_PICKLES):
            _InertUnpickler(file, path).load()
        return _InertUnpickler(file, path).load()


def read_storage(path: Path, record: str, dtype: str) -> bytes:
    """The raw numbers of one storage. Raises `zipfile.BadZipFile` if they do not have their checksum."""
    info = path.stat()
    return _read_storage(path, record, dtype, (info.st_size, info.st_mtime_ns))


def forget_storage() -> None:
    """Free the storage that was read last, which is kept for other tensors in it."""
    _read_storage.cache_clear()


@lru_cache(maxsize=1)  # several tensors may share a storage, and one fused tensor becomes three
def _read_storage(path: Path, record: str, dtype: str, _: tuple[int, int]) -> bytes:
    if not zipfile.is_zipfile(path):
        return _read_legacy_storage(path, record, dtype)
    with zipfile.ZipFile(path) as archive:
        entry = _unchecked_if_unsummed(archive, f"{_root(archive)}/data/{record}")
        with archive.open(entry) as file:
            return file.read()


def _read_legacy_storage(path: Path, record: str, dtype: str) -> bytes:
    with path.open("rb") as file:
        for _ in range(_LEGACY_HEADER_PICKLES):
            _InertUnpickler(file, path).load()
        content = _InertUnpickler(file, path)
        content.load()
        for name in _InertUnpickler(file, path).load():
            count = int.from_bytes(file.read(_COUNT_BYTES), "little")
            if name == record:
                return file.read(count * SIZES[dtype])
            file.seek(count * SIZES[content.dtypes[name]], 1)
    raise ValueError(f"the file has no storage {record}")


def _root(archive: zipfile.ZipFile) -> str:
    """The folder inside a torch file, named after the file as it was first saved."""
    return next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("/data.pkl")


def _unchecked_if_unsummed(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The entry; without a checksum if torch was set to write none, which leaves all of them 0."""
    entry = archive.getinfo(name)
    if not any(one.CRC for one in archive.infolist()):
        entry.CRC = None  # type: ignore[assignment]  # then zipfile checks nothing
    return entry


class _Ignored:
    """Stands in for a value that is not a tensor."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _dict(*_: object) -> dict[Any, Any]:
    return {}


def _parameter(tensor: Stored, *_: object) -> Stored:
    return tensor


#: Names that a checkpoint may contain, with their stand-ins, which only keep their arguments. Those from
#: `_InertUnpickler.find_class` and these are all.
_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": _dict,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{storage}": dtype for storage, dtype in _STORAGES.items()},
    **dict.fromkeys(
        (
            "argparse.Namespace",
            "torch.Size",
            "torch.device",
            *(f"torch.{dtype}" for dtype in ("float32", "float16", "bfloat16", "float64", "int64", "bool")),
            "_codecs.encode",
            "numpy.dtype",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
        ),
        _Ignored,
    ),
}


class _InertUnpickler(pickle.Unpickler):
    """Loads a checkpoint with `Stored` in place of tensors and `_Ignored` in place of other objects.

    Attributes:
        dtypes: number format of each storage that was referred to.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._path = path
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" == "torch._utils._rebuild_tensor_v2":
            return self._tensor
        stand_in = _ALLOWED.get(f"{module}.{name}")
        if stand_in is None:
            raise ModelError(
                f"{self._path} cannot be loaded: it holds a {module}.{name}, which is not a weight and might run code. "
                "If you trust the file, save its weights alone: torch.save({'state_dict': ...}, file)."
            )
        return stand_in

    def persistent_load(self, reference: Any) -> tuple[str, str]:
        _, dtype, record, *_ = reference
        self.dtypes[str(record)] = dtype
        return dtype, str(record)

    def _tensor(
        self, storage: tuple[str, str], offset: int, size: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> Stored:
        return Stored(self._path, storage[0], tuple(size), tuple(strides), (storage[1], offset))
