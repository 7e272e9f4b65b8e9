"""Finds the files of a model by its name, and downloads or copies them if needed.

A name is `demo` or that of a released model, a URL, a local folder or weights file, `modelscope:` and an id there, or a
hub id; they are tried in this order. `#` and an address may follow, for a file with several models. Only the files that
are needed are downloaded, and never code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.model.files import hub, modelscope
from pipeline.model.files.contents import (
    EXAMPLE,
    SUFFIXES,
    WEIGHTS_NAMES,
    file_names,
    is_weights,
    no_such_model,
    no_weights,
    several,
    weights_among,
)
from pipeline.model.files.copies import copied
from pipeline.model.released import variant
from pipeline.model.weights.adapter import ADAPTER_CONFIG, ADAPTER_NAMES, Adapter, read_adapter
from pipeline.model.weights.files import INDEX
from pipeline.model.weights.states import holds_state
from pipeline.model.weights.tensors import read_tree
from pipeline.model.weights.weights import Weights, open_weights


@dataclass(frozen=True)
class ModelFiles:
    """The local files of a model.

    Attributes:
        name: as given; for a short name, the hub id.
        folder: of the weights.
        weights_file: name of the weights, or of the index of several, in `folder`.
        beside: folders of the small files: that of an adapter first, then that of the weights.
        is_folder: whether the name is that of a folder, so that its small files belong to the weights.
        revision: commit, for a model of the hub.
        address: which of the models in the weights file; None if it holds one.
        adapter: folder of a LoRA adapter to merge.
    """

    name: str
    folder: Path
    weights_file: str
    beside: tuple[Path, ...]
    is_folder: bool
    revision: str | None = None
    address: str | None = None
    adapter: Path | None = None

    @cached_property
    def weights(self) -> Weights:
        """The weights. Raises ModelError if they are damaged, unsafe or not those of a Chinese CLIP."""
        return open_weights(self.folder, self.weights_file, self.address)

    @cached_property
    def read_adapter(self) -> Adapter | None:
        """The adapter, if there is one. Raises ModelError if it is damaged or cannot be merged."""
        return read_adapter(self.adapter) if self.adapter else None

    def find(self, names: Sequence[str]) -> Path | None:
        """The first of several small files that exists, in the order of the folders."""
        places = (folder / name for folder in self.beside for name in names)
        return next((place for place in places if place.is_file()), None)


def find_files(name: str, revision: str | None, fetch: bool = True) -> ModelFiles:
    """Find the files of model `name`.

    Args:
        name: `--model`.
        revision: commit, branch or tag, for a model of the hub.
        fetch: whether to download or copy files that are not on this machine.

    Raises:
        ModelError: there is no such model, or it has no weights, or several.
        StorageError: the store behind a URL failed.
    """
    if not name.strip():
        raise ModelError(f"The model's name is empty: give {EXAMPLE}, a folder, a file with weights, or a URL.")
    place, address = _split(name)
    files = _find(place, revision, fetch)
    return replace(files, name=f"{files.name}#{address}", address=address) if address else files


def demo_folder() -> Path:
    """Folder of the demo model: in the repository, or inside the installed package."""
    package = Path(__file__).parents[2]
    for folder in (package / "_demo" / "model", package.parent / "demo" / "model"):
        if folder.is_dir() and weights_among(file_names(folder)):
            return folder
    raise ModelError(f"The demo model is not installed: install hanclip from a wheel, or use --model {EXAMPLE}.")


def _split(name: str) -> tuple[str, str | None]:
    """The name, and the address after its last `#`."""
    place, mark, address = name.rpartition("#")
    is_whole = not mark or "/" in address or Path(name).expanduser().exists()
    return (name, None) if is_whole else (place, address)


def _find(name: str, revision: str | None, fetch: bool) -> ModelFiles:
    if name == "demo":
        return _in_folder(name, demo_folder(), revision, fetch)
    if known := variant(name):
        if not known.has_hub_format:
            return _file(known.hub_id, hub.original(known.hub_id, known.original, revision, fetch), True)
        name = known.hub_id
    if name.startswith(modelscope.SCHEME):
        return _in_folder(name, modelscope.snapshot(name, revision, fetch), revision, fetch)
    local = Path(name).expanduser()
    if "://" in name:
        return _in_folder(name, copied(name, fetch), revision, fetch)
    if local.is_file():
        return _local_file(name, local.absolute(), revision, fetch)
    if local.is_dir():
        return _in_folder(name, local.resolve(), revision, fetch)
    return _on_hub(name, revision, fetch)


def _on_hub(name: str, revision: str | None, fetch: bool) -> ModelFiles:
    if file := hub.HUB_FILE.fullmatch(name):
        return _file(name, hub.original(file[1], file[2], revision, fetch), True)
    if not hub.HUB_ID.fullmatch(name) or name.endswith(SUFFIXES):
        raise no_such_model(name)
    folder = hub.snapshot(name, revision, fetch)
    # Other files in it are of this repository too: their own names give them.
    usual = [file for file in WEIGHTS_NAMES if file in file_names(folder)]
    return _of_folder(name, folder, usual, revision, fetch, commit=folder.name)


def _local_file(name: str, path: Path, revision: str | None, fetch: bool) -> ModelFiles:
    if path.name in (*ADAPTER_NAMES, ADAPTER_CONFIG):
        return _in_folder(name, path.parent, revision, fetch)
    if not is_weights(path.name):
        raise ModelError(
            f"{path} is no file with weights: give one that ends in {', '.join(SUFFIXES)}, or its folder, as --model."
        )
    return _file(name, path)


def _file(name: str, path: Path, is_snapshot: bool = False) -> ModelFiles:
    folder = path.parent.resolve()
    revision = path.parent.name if is_snapshot else None
    return ModelFiles(name, folder, path.name, (folder,), is_folder=False, revision=revision)


def _in_folder(name: str, folder: Path, revision: str | None, fetch: bool) -> ModelFiles:
    return _of_folder(name, folder, weights_among(file_names(folder)), revision, fetch)


def _of_folder(
    name: str, folder: Path, candidates: list[str], revision: str | None, fetch: bool, commit: str | None = None
) -> ModelFiles:
    adapter = folder if (folder / ADAPTER_CONFIG).is_file() else None
    weights = _choose(folder, candidates)
    if weights is None and adapter is not None:
        base = _base_of(read_adapter(folder), revision, fetch)
        return replace(base, name=name, beside=(folder, *base.beside), adapter=folder, revision=commit)
    if weights is None:
        raise no_weights(name, str(folder))
    return ModelFiles(name, folder, weights, (folder,), is_folder=True, revision=commit, adapter=adapter)


def _choose(folder: Path, candidates: list[str]) -> str | None:
    """The file with the weights; of several with equal weights the first. None if there is no candidate.

    Raises:
        ModelError: they hold different weights.
    """
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    holding = [name for name in candidates if _holds_state(folder, name)]
    if len(holding) < 2:
        return (holding or candidates)[0]
    digests = {open_weights(folder, name).digest() for name in holding}
    if len(digests) > 1:
        raise several(holding, str(folder), str(folder))
    return holding[0]


def _holds_state(folder: Path, name: str) -> bool:
    """Whether a file holds a model; one that cannot be read does not count beside others, unless its name is usual."""
    if name.endswith(INDEX):
        return True
    try:
        return holds_state(read_tree(folder / name))
    except ModelError:
        if name in WEIGHTS_NAMES:
            raise
        return False


def _base_of(adapter: Adapter, revision: str | None, fetch: bool) -> ModelFiles:
    """The files of an adapter's base model. Raises ModelError if its configuration does not name one that is there."""
    cure = (
        f"copy the weights of the model that it was trained on into {adapter.folder}, or correct "
        f"base_model_name_or_path in its {ADAPTER_CONFIG}"
    )
    if adapter.base is None:
        raise ModelError(f"The adapter in {adapter.folder} does not name its base model: {cure}.")
    beside = adapter.folder / adapter.base
    name = str(beside) if beside.exists() else adapter.base
    try:
        base = find_files(name, adapter.revision, fetch)
    except ModelError as error:
        raise ModelError(
            f"The base model {adapter.base} of the adapter in {adapter.folder}: {error} Or {cure}."
        ) from error
    if base.adapter is not None:
        raise ModelError(
            f"The base model {adapter.base} of the adapter in {adapter.folder} has an adapter too: {cure}."
        )
    return base
