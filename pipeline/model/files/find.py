"""Finds the files of a model by its name, and downloads or copies them if needed.

A name is `demo` or that of a released model, a URL, a local folder or `.pt` file, or a hub id; they are tried in this
order. Only the files that are needed are downloaded, and never code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.files import hub
from pipeline.model.files.contents import (
    EXAMPLE,
    ORIGINAL,
    choose_weights,
    file_names,
    has_vocabulary,
    missing_files,
    no_such_model,
)
from pipeline.model.files.copies import copied
from pipeline.model.released import variant


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The local files of a model.

    Attributes:
        name: as given; for a short name, the hub id.
        folder: of the weights; in transformers' layout, of all other files too.
        weights_file: name of the weights, or of the index of several, in `folder`.
        vocabulary: folder of the vocabulary.
        revision: commit, for a model of the hub.
    """

    name: str
    folder: Path
    weights_file: str
    vocabulary: Path
    revision: str | None = None

    @property
    def is_original(self) -> bool:
        """Whether the weights are a `.pt` file in the authors' format."""
        return self.weights_file.endswith(ORIGINAL)


def find_files(name: str, revision: str | None, fetch: bool = True) -> ModelFiles:
    """Find the files of model `name`.

    Args:
        name: `--model`.
        revision: commit, branch or tag, for a model of the hub.
        fetch: whether to download or copy files that are not on this machine.

    Raises:
        ModelError: there is no such model, or files of it are missing.
        StorageError: the store behind a URL failed.
    """
    if not name.strip():
        raise ModelError(f"The model's name is empty: give {EXAMPLE}, a folder, a .pt file or a URL.")
    if name == "demo":
        return _in_folder(name, demo_folder())
    if known := variant(name):
        if not known.has_hub_format:
            return _original(known.hub_id, hub.original(known.hub_id, known.original, revision, fetch), True)
        name = known.hub_id
    local = Path(name).expanduser()
    if "://" in name:
        return _in_folder(name, copied(name, fetch))
    if local.is_file() and name.endswith(ORIGINAL):
        return _original(name, local.resolve())
    if local.is_dir():
        return _in_folder(name, local.resolve())
    return _on_hub(name, revision, fetch)


def demo_folder() -> Path:
    """Folder of the demo model: in the repository, or inside the installed package."""
    package = Path(__file__).parents[2]
    for folder in (package / "_demo" / "model", package.parent / "demo" / "model"):
        if folder.is_dir() and not missing_files(file_names(folder)):
            return folder
    raise ModelError(f"The demo model is not installed: install hanclip from a wheel, or use --model {EXAMPLE}.")


def _on_hub(name: str, revision: str | None, fetch: bool) -> ModelFiles:
    if file := hub.HUB_FILE.fullmatch(name):
        return _original(name, hub.original(file[1], file[2], revision, fetch), True)
    if not hub.HUB_ID.fullmatch(name) or name.endswith(ORIGINAL):
        raise no_such_model(name)
    folder = hub.snapshot(name, revision, fetch)
    return _in_folder(name, folder, folder.name)


def _in_folder(name: str, folder: Path, revision: str | None = None) -> ModelFiles:
    weights_file = choose_weights(file_names(folder), name, str(folder))
    if weights_file.endswith(ORIGINAL):
        return _original(name, folder / weights_file)
    return ModelFiles(name, folder, weights_file, vocabulary=folder, revision=revision)


def _original(name: str, path: Path, is_snapshot: bool = False) -> ModelFiles:
    """A `.pt` file, with the vocabulary from its folder or the one of every released model, which hanclip ships."""
    words = path.parent if has_vocabulary(file_names(path.parent)) else Path(__file__).parents[1] / "vocabulary"
    return ModelFiles(name, path.parent, path.name, words, path.parent.name if is_snapshot else None)
