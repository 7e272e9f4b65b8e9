"""Which files a model's weights are in: one file, or those that an index lists."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.local.cache import file_sha256
from pipeline.model.local.small_files import read_json

INDEX = ".index.json"


def weights_files(folder: Path, name: str) -> list[str]:
    """The file itself, or the files that an index lists. Raises ModelError if one is missing."""
    return _shards(folder, name) if name.endswith(INDEX) else [name]


def weights_digest(folder: Path, name: str) -> str:
    """SHA-256 hex digest of the weights; of several files, that of their `sha256sum` listing in name order."""
    files = weights_files(folder, name)
    if files == [name]:
        return file_sha256(folder / name)
    listing = "".join(f"{file_sha256(folder / file)}  {file}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _shards(folder: Path, index: str) -> list[str]:
    tree = read_json(folder / index)
    try:
        files = sorted({str(file) for file in tree["weight_map"].values()})
    except (KeyError, AttributeError) as error:
        raise ModelError(f"{folder / index} is not an index of weights: copy or download it again.") from error
    missing = [file for file in files if Path(file).name != file or not (folder / file).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}, which {index} lists: copy them into that folder.")
    return files
