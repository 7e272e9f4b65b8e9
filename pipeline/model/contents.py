"""Which files make a model, and what to say of a folder that lacks some.

A folder is a model in one of two layouts: transformers' (`config.json`, the preprocessor's file, a vocabulary and the
weights), or one `.pt` file of the authors', with `vocab.txt` beside it or not.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.preprocessor import PREPROCESSOR_NAMES
from pipeline.model.variants import VARIANTS, variant
from pipeline.model.weights import find_weights

#: Either file names the words; transformers 5 writes the second where the released models have the first.
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
    """Which of the files at `place` is the weights of model `name`. Raises ModelError where they make no model."""
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
    """What a complete folder in transformers' layout would have and this one has not."""
    kinds = (("config.json",), PREPROCESSOR_NAMES, VOCABULARY_NAMES)
    missing = [names[0] for names in kinds if not any(name in files for name in names)]
    return missing if find_weights(files) else [*missing, "pytorch_model.bin (or model.safetensors)"]


def has_vocabulary(files: Collection[str]) -> bool:
    """Whether a vocabulary is among the files."""
    return any(name in files for name in VOCABULARY_NAMES)


def vocabulary_file(folder: Path) -> Path:
    """The file in `folder` that names the words."""
    return next(folder / name for name in VOCABULARY_NAMES if (folder / name).is_file())


def is_needed(file: str) -> bool:
    """Whether a file of a model folder may take part in computing; nested ones never do."""
    wanted = (*SMALL_FILES, *SAFETENSORS, *PICKLES, f"*{ORIGINAL}")
    return "/" not in file and any(fnmatch(file, pattern) for pattern in wanted)


def where_from(name: str) -> str:
    """What to fetch by hand, and where to put it, so that model `name` loads; ends a sentence."""
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
    """The sentence for a name that is nothing at all."""
    names = ", ".join(variant.name for variant in VARIANTS)
    return ModelError(
        f"There is no model {name}: give {names} or demo, a folder, a .pt file, a URL of either, or a hub id like "
        f"{EXAMPLE} as --model."
    )
