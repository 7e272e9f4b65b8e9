"""Which files of a model folder are its weights, and their digest: a part of every dataset's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.cache import file_sha256

#: Names in the order of preference. safetensors cannot run code; an index stands for the shards it lists.
WEIGHTS_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def find_weights(files: Collection[str]) -> str | None:
    """Which of a folder's file names is its weights or their index: the first of `WEIGHTS_NAMES` that is there."""
    return next((name for name in WEIGHTS_NAMES if name in files), None)


def weights_digest(folder: Path, name: str) -> str:
    """SHA-256 hex digest of one weights file; of several, the digest of their `sha256sum` listing in name order."""
    files = weights_files(folder, name)
    if files == [name]:
        return file_sha256(folder / name)
    listing = "".join(f"{file_sha256(folder / file)}  {file}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def weights_files(folder: Path, name: str) -> list[str]:
    """The file itself, or those that an index lists."""
    return _shards(folder, name) if name.endswith(".index.json") else [name]


def _shards(folder: Path, index: str) -> list[str]:
    try:
        files = sorted({str(file) for file in json.loads((folder / index).read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder / index} is not an index of weights: download it again.") from error
    missing = [file for file in files if Path(file).name != file or not (folder / file).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}, which {index} lists: download them into that folder.")
    return files
