"""Decides how a checkpoint computes: sizes and settings, vocabulary and context length, from the files that there are.

Only weights are needed. Sizes follow from their shapes, and settings are the released models' where no `config.json`
says otherwise. A folder's small files belong to its weights and must fit them; those beside a single file are used if
they do.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.architecture import RESNET, VIT, Architecture, from_config
from pipeline.model.files.contents import CONFIG_NAME, VOCABULARY_NAMES
from pipeline.model.files.find import ModelFiles
from pipeline.model.local.small_files import read_json
from pipeline.model.local.wordpiece import STANDARD_VOCABULARY_SIZE, read_vocabulary

#: Tokens of a text, including [CLS] and [SEP], in every released Chinese CLIP.
CONTEXT_LENGTH = 52
_LEAST_CONTEXT = 3
_SHIPPED = Path(__file__).parent / "vocabulary" / "vocab.txt"


def read_architecture(files: ModelFiles) -> Architecture:
    """Sizes and settings: from config.json if it belongs to the weights, else from their shapes. Raises ModelError."""
    path = files.find([CONFIG_NAME])
    given = _configured(path, files.is_folder) if path else None
    if given is None:
        return files.weights.architecture()
    found = files.weights.architecture(given)
    if found == given:
        return given
    if not files.is_folder:
        return files.weights.architecture()
    raise ModelError(
        f"{path}: the weights in {files.weights_file} have other sizes: {_differences(given, found)}. Take config.json "
        "from the model that yours was tuned from, or remove it: the sizes then follow from the weights."
    )


def vocabulary_of(files: ModelFiles, sizes: Architecture) -> Path:
    """The file with the vocabulary: beside the weights, else the released models', if it has the right size.

    Raises:
        ModelError: there is none, or it has more tokens than the text tower.
    """
    path = files.find(VOCABULARY_NAMES)
    if path is None:
        if sizes.vocabulary != STANDARD_VOCABULARY_SIZE:
            raise ModelError(
                f"{files.folder} has no vocab.txt, and the text tower knows {sizes.vocabulary:,} tokens, not the "
                f"{STANDARD_VOCABULARY_SIZE:,} of the released models: copy the vocab.txt of the model that yours was "
                "tuned from beside the weights."
            )
        return _SHIPPED
    count = max(read_vocabulary(path).values()) + 1
    if count > sizes.vocabulary:
        raise ModelError(
            f"{path} has {count:,} tokens, the text tower knows {sizes.vocabulary:,}: take the vocabulary of the model "
            "that yours was tuned from."
        )
    return path


def context_length_of(files: ModelFiles, sizes: Architecture, asked: int | None) -> int:
    """Tokens of a text: as asked, else as in config.json, else 52. Raises ModelError if the text tower takes fewer."""
    path = files.find([CONFIG_NAME])
    own = read_json(path).get("context_length") if path and files.is_folder else None
    length = asked or own or CONTEXT_LENGTH
    if not isinstance(length, int) or not _LEAST_CONTEXT <= length <= sizes.positions:
        source = "--context-length" if asked else "context_length in config.json" if own else "the usual context length"
        raise ModelError(
            f"{files.folder}: {source} is {length}, and the text tower has {sizes.positions} positions: give "
            f"--context-length from {_LEAST_CONTEXT} to {sizes.positions}."
        )
    return length


def _configured(path: Path, is_folder: bool) -> Architecture | None:
    """What a config.json states; None for one beside a single file that describes something else."""
    tree = read_json(path)
    if tree.get("model_type") not in (VIT, RESNET):
        if not is_folder:
            return None
        raise ModelError(
            f"{path} describes a model of type {tree.get('model_type')!r}, not {VIT}: use a Chinese CLIP model. If the "
            "weights are of one, remove this file: the sizes then follow from the weights."
        )
    try:
        return from_config(tree)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be parsed ({error!r}): take it from the model that yours was tuned from."
        ) from error


def _differences(given: Architecture, found: Architecture) -> str:
    ours, theirs = given.config(), found.config()
    flat = [("", "projection_dim"), *((part, name) for part in ("vision_config", "text_config") for name in ours[part])]
    pairs = [
        (name, (ours[part] if part else ours)[name], (theirs[part] if part else theirs).get(name))
        for part, name in flat
    ]
    return ", ".join(f"{name} is {had}, not {wanted}" for name, wanted, had in pairs if wanted != had)
