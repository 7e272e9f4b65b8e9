"""Decides which files make up a model, and what to get if some are missing.

Only the weights must be there. They are in one file or in those that an index lists; beside them may be `config.json`,
the preprocessor's file, a vocabulary, the tokenizer's settings and a LoRA adapter.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.preprocessor import PREPROCESSOR_NAMES
from pipeline.model.released import VARIANTS, variant
from pipeline.model.weights.adapter import ADAPTER_CONFIG, ADAPTER_NAMES
from pipeline.model.weights.files import INDEX

#: Either file holds the vocabulary: the first in the released models, the second if transformers 5 saved the model.
VOCABULARY_NAMES = ("vocab.txt", "tokenizer.json")
CONFIG_NAME = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
EXAMPLE = "OFA-Sys/chinese-clip-vit-base-patch16"

SMALL_FILES = (CONFIG_NAME, *PREPROCESSOR_NAMES, *VOCABULARY_NAMES, TOKENIZER_CONFIG, ADAPTER_CONFIG, *ADAPTER_NAMES)
SAFETENSORS = ("model*.safetensors", "model*.safetensors.index.json")
PICKLES = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
#: Suffixes of weights that training code chooses itself, and of all weights.
OWN_SUFFIXES = (".pt", ".pth", ".ckpt")
SUFFIXES = (*OWN_SUFFIXES, ".bin", ".safetensors", INDEX)
#: In order of preference: safetensors cannot run code. An index lists several files.
WEIGHTS_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
#: What training leaves beside weights, and the parts that an index lists.
_NO_WEIGHTS = re.compile(
    r"(?:optimizer|scheduler|scaler|rng_state|random_states|training_args).*|.*-\d{5}-of-\d{5}\..*|adapter_model\..*"
)


def file_names(folder: Path) -> set[str]:
    """Names of the files in `folder`."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def is_weights(name: str) -> bool:
    """Whether a file with this name may hold the weights of a model."""
    return name.endswith(SUFFIXES) and not _NO_WEIGHTS.fullmatch(name)


def weights_among(files: Collection[str]) -> list[str]:
    """The names among `files` that may hold weights, the usual ones first."""
    usual = [name for name in WEIGHTS_NAMES if name in files]
    return usual + sorted(name for name in files if is_weights(name) and name not in WEIGHTS_NAMES)


def choose_by_name(files: Collection[str], name: str, place: str) -> str | None:
    """Which of the files of a remote folder are the weights, without reading them; None for an adapter without its
    base. Raises ModelError if they hold none, or several of the same kind.
    """
    found = weights_among(files)
    if found and (found[0] in WEIGHTS_NAMES or len(found) == 1):
        return found[0]
    if found:
        raise several(found, place, place)
    if ADAPTER_CONFIG in files:
        return None
    raise no_weights(name, place)


def is_needed(file: str) -> bool:
    """Whether a file of a remote model folder is part of the model; files in subfolders never are."""
    wanted = (*SMALL_FILES, *SAFETENSORS, *PICKLES, *(f"*{suffix}" for suffix in OWN_SUFFIXES))
    return "/" not in file and any(fnmatch(file, pattern) for pattern in wanted)


def several(files: Collection[str], place: str, base: str) -> ModelError:
    """The error for a folder with the weights of several models."""
    return ModelError(
        f"{place} holds different weights in {', '.join(files)}: give one of them as --model {base.rstrip('/')}/FILE."
    )


def no_weights(name: str, place: str) -> ModelError:
    """The error for a folder without weights."""
    known = variant(name)
    where = f" (those of {name} are at https://huggingface.co/{known.hub_id})" if known else ""
    return ModelError(
        f"The model {name} has no weights in {place}: copy yours there as model.safetensors or pytorch_model.bin{where}"
        ", or give the path of the file with your weights as --model."
    )


def where_from(name: str) -> str:
    """How to download model `name` of the hub by hand; the end of a sentence."""
    known = variant(name)
    if known and not known.has_hub_format:
        return (
            f"download {known.original} from https://huggingface.co/{known.hub_id} and give it as --model "
            f"PATH/{known.original}"
        )
    return (
        f"download config.json, preprocessor_config.json, vocab.txt and pytorch_model.bin (or model.safetensors) from "
        f"https://huggingface.co/{known.hub_id if known else name} into one folder and give that folder as --model "
        "FOLDER"
    )


def no_such_model(name: str) -> ModelError:
    """The error for a name that matches nothing."""
    names = ", ".join(variant.name for variant in VARIANTS)
    return ModelError(
        f"There is no model {name}: give {names} or demo, a folder, a file with weights, a URL of either, a hub id "
        f"like {EXAMPLE}, or modelscope:ORG/NAME as --model."
    )
