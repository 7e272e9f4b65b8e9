"""From the name of a model to a folder on this machine that holds its files.

A name is `demo`, a local folder, an fsspec URL of a folder, or a hub id, tried in this order. Only the files that are
needed are fetched, and never code.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from pipeline import storage
from pipeline.errors import ModelError
from pipeline.model.cache import cache_folder
from pipeline.model.preprocessor import PREPROCESSOR_NAMES
from pipeline.model.weights import find_weights

#: Either file names the words; transformers 5 writes the second where the released models have the first.
VOCABULARY_NAMES = ("vocab.txt", "tokenizer.json")

_SMALL_FILES = ("config.json", *PREPROCESSOR_NAMES, *VOCABULARY_NAMES)
_SAFETENSORS = ("model*.safetensors", "model*.safetensors.index.json")
_PICKLES = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COPY_BYTES = 8 * 2**20
_RN50 = (
    "RN50 and raw .pt checkpoints are not in the format that this version loads: choose one of the ViT models, such as"
)
_EXAMPLE = "OFA-Sys/chinese-clip-vit-base-patch16"


def find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """Folder with all files of model `name`, and the hub commit where there is one. Raises ModelError."""
    local = Path(name).expanduser()
    if name.endswith(".pt") or name.lower().rstrip("/").endswith("chinese-clip-rn50"):
        raise ModelError(f"{name}: {_RN50} {_EXAMPLE}.")
    if name == "demo":
        return demo_folder(), None
    if "://" in name:
        return _copied(name), None
    if local.is_dir():
        _check(file_names(local), name, str(local))
        return local.resolve(), None
    if not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"There is no model folder {name}: give a folder, a URL or a hub id like {_EXAMPLE} as --model."
        )
    folder = _downloaded(name, revision)
    _check(file_names(folder), name, str(folder))
    return folder, folder.name


def demo_folder() -> Path:
    """Folder of the demo model: in the repository, or inside the installed package."""
    package = Path(__file__).parents[1]
    for folder in (package / "_demo" / "model", package.parent / "demo" / "model"):
        if folder.is_dir() and not _missing(file_names(folder)):
            return folder
    raise ModelError(f"The demo model is not installed: install hanclip from a wheel, or use --model {_EXAMPLE}.")


def file_names(folder: Path) -> set[str]:
    """Names of the files in `folder`."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def _check(files: Collection[str], name: str, place: str) -> None:
    """Raise a ModelError unless `files`, found at `place`, make a model."""
    missing = _missing(files)
    if missing and find_weights(files) is None and any(file.endswith(".pt") for file in files):
        raise ModelError(f"{place} holds only a .pt file. {_RN50} {_EXAMPLE}.")
    if missing:
        raise ModelError(f"The model {name} lacks {' and '.join(missing)} in {place}: {_where_from(name)}.")


def _missing(files: Collection[str]) -> list[str]:
    """What a complete model folder would have and this one has not."""
    kinds = (("config.json",), PREPROCESSOR_NAMES, VOCABULARY_NAMES)
    missing = [names[0] for names in kinds if not any(name in files for name in names)]
    return missing if find_weights(files) else [*missing, "pytorch_model.bin (or model.safetensors)"]


def _where_from(name: str) -> str:
    hub_id = name if _HUB_ID.fullmatch(name) and not Path(name).is_dir() else _EXAMPLE
    return (
        f"download config.json, preprocessor_config.json, vocab.txt and pytorch_model.bin (or model.safetensors) from "
        f"https://huggingface.co/{hub_id} into one folder and give that folder as --model FOLDER"
    )


def _downloaded(hub_id: str, revision: str | None) -> Path:
    """Snapshot in the hub's own cache; its folder is named after the commit. Honours HF_HUB_OFFLINE."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ModelError("Hub models need huggingface_hub: pip install 'hanclip[model]'.") from error
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=[*_SMALL_FILES, *_SAFETENSORS]))
        if (
            find_weights(file_names(folder)) is None
        ):  # the released models have pickles only; asked second, to fetch one of the two
            folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=[*_SMALL_FILES, *_PICKLES]))
    except Exception as error:  # its errors and its HTTP client's have no base of their own
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"The model {hub_id}{at} is not in this machine's hub cache and could not be downloaded "
            f"({type(error).__name__}): check the name and the network, or {_where_from(hub_id)}."
        ) from error
    return folder


def _copied(url: str) -> Path:
    """A local copy of a remote folder's model files, named after their names and fingerprints: new ones, new copy."""
    base = storage.normalise(url).rstrip("/") + "/"
    found = {item.uri.removeprefix(base): item for item in storage.list_objects(base.rstrip("/"))}
    objects = {file: item for file, item in sorted(found.items()) if _is_needed(file)}
    _check(objects, url, url)
    key = repr([base, *((file, item.size_bytes, item.fingerprint) for file, item in objects.items())])
    folder = cache_folder() / "models" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not folder.is_dir():
        _copy_whole([item.uri for item in objects.values()], folder)
    return folder


def _is_needed(file: str) -> bool:
    """Whether a file of a model folder takes part in computing; nested ones never do."""
    return "/" not in file and any(fnmatch(file, pattern) for pattern in (*_SMALL_FILES, *_SAFETENSORS, *_PICKLES))


def _copy_whole(uris: list[str], folder: Path) -> None:
    """The folder appears with all files in it or not at all; of two copiers at once, the first wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as staged:
        for uri in uris:
            with storage.open_seekable(uri) as source, (Path(staged) / uri.rpartition("/")[2]).open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
        try:
            os.rename(staged, folder)
        except OSError:
            if not folder.is_dir():
                raise
