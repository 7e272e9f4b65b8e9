"""Decides which files make up a model, and what to download if some are missing.

A model folder has one of two layouts: transformers' (`config.json`, the preprocessor's file, a vocabulary and the
weights), or one `.pt` file of the authors, with or without `vocab.txt`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.files.cache import file_sha256
from pipeline.model.preprocessor import PREPROCESSOR_NAMES
from pipeline.model.released import VARIANTS, variant

#: Either file holds the vocabulary: the first in the released models, the second if transformers 5 saved the model.
VOCABULARY_NAMES = ("vocab.txt", "tokenizer.json")
ORIGINAL = ".pt"
EXAMPLE = "OFA-Sys/chinese-clip-vit-base-patch16"

SMALL_FILES = ("config.json", *PREPROCESSOR_NAMES, *VOCABULARY_NAMES)
SAFETENSORS = ("model*.safetensors", "model*.safetensors.index.json")
PICKLES = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")


def file_names(folder: Path) -> set[str]:
    """Names of the files in `folder`."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def choose_weights(files: Collection[str], name: str, place: str) -> str:
    """Which of `files` holds the weights of model `name`. Raises ModelError if the files at `place` are no model."""
    missing = missing_files(files)
    originals = sorted(file for file in files if file.endswith(ORIGINAL))
    if missing and originals and find_weights(files) is None:
        if len(originals) > 1:
            raise ModelError(f"{place} holds {', '.join(originals)}: give the path of one of them as --model PATH.pt.")
        return originals[0]
    if missing:
        raise ModelError(f"The model {name} lacks {' and '.join(missing)} in {place}: {where_from(name)}.")
    return find_weights(files) or ""


def missing_files(files: Collection[str]) -> list[str]:
    """The files that are missing for a complete folder in transformers' layout."""
    kinds = (("config.json",), PREPROCESSOR_NAMES, VOCABULARY_NAMES)
    missing = [names[0] for names in kinds if not any(name in files for name in names)]
    return missing if find_weights(files) else [*missing, "pytorch_model.bin (or model.safetensors)"]


def has_vocabulary(files: Collection[str]) -> bool:
    """Whether a vocabulary is among the files."""
    return any(name in files for name in VOCABULARY_NAMES)


def vocabulary_file(folder: Path) -> Path:
    """The file in `folder` that holds the vocabulary."""
    return next(folder / name for name in VOCABULARY_NAMES if (folder / name).is_file())


def is_needed(file: str) -> bool:
    """Whether a file of a remote model folder is part of the model; files in subfolders never are."""
    wanted = (*SMALL_FILES, *SAFETENSORS, *PICKLES, f"*{ORIGINAL}")
    return "/" not in file and any(fnmatch(file, pattern) for pattern in wanted)


def where_from(name: str) -> str:
    """How to download model `name` by hand; the end of a sentence."""
    known = variant(name)
    if known and not known.has_hub_format:
        return (
            f"download {known.original} from https://huggingface.co/{known.hub_id} and vocab.txt from "
            f"https://huggingface.co/{EXAMPLE} into one folder and give that folder as --model FOLDER"
        )
    hub_id = known.hub_id if known else name if name.count("/") == 1 and not Path(name).is_dir() else EXAMPLE
    return (
        f"download config.json, preprocessor_config.json, vocab.txt and pytorch_model.bin (or model.safetensors) from "
        f"https://huggingface.co/{hub_id} into one folder and give that folder as --model FOLDER"
    )


def no_such_model(name: str) -> ModelError:
    """The error for a name that matches nothing."""
    names = ", ".join(variant.name for variant in VARIANTS)
    return ModelError(
        f"There is no model {name}: give {names} or demo, a folder, a .pt file, a URL of either, or a hub id like "
        f"{EXAMPLE} as --model."
    )


#: In order of preference: safetensors cannot run code. An index lists several files.
WEIGHTS_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def find_weights(files: Collection[str]) -> str | None:
    """The weights or their index among a folder's file names: the first of `WEIGHTS_NAMES` that exists."""
    return next((name for name in WEIGHTS_NAMES if name in files), None)


def weights_digest(folder: Path, name: str) -> str:
    """SHA-256 hex digest of the weights; of several files, that of their `sha256sum` listing in name order."""
    files = weights_files(folder, name)
    if files == [name]:
        return file_sha256(folder / name)
    listing = "".join(f"{file_sha256(folder / file)}  {file}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def weights_files(folder: Path, name: str) -> list[str]:
    """The file itself, or the files that an index lists."""
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
