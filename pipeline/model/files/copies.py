"""Copies models at URLs into hanclip's cache: once, and again when the remote files change."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import ModelError, NotFoundError
from pipeline.model.files.contents import SUFFIXES, WEIGHTS_NAMES, choose_by_name, is_needed, weights_among
from pipeline.model.local.cache import appearing_whole, cache_folder
from pipeline.model.weights.files import INDEX
from pipeline.storage import ObjectInfo, ReadPolicy

_COPY_BYTES = 8 * 2**20
#: The user names the model, which may be on a server of a private network.
_POLICY = ReadPolicy.of(SourceConfig(allow_private_hosts=True))


def copied(url: str, fetch: bool) -> Path:
    """Folder with the copy of a remote model folder, or of one weights file; copies only if `fetch`.

    The copy is named after the names and fingerprints of the remote files, so that changed files get a new copy.

    Raises:
        ModelError: the files are no model, or are not copied yet and `fetch` is false.
        StorageError: the store failed.
    """
    if url.endswith(INDEX):
        url = storage.parent(url)
    objects = _file(url) if url.endswith(SUFFIXES) else _folder(url)
    key = repr([(uri, info.size_bytes, info.fingerprint) for uri, info in objects.items()])
    folder = cache_folder() / "models" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    if not fetch:
        size_mb = sum(info.size_bytes for info in objects.values()) / 1e6
        raise ModelError(f"The model {url} ({size_mb:,.0f} MB) is not on this machine yet: the first run copies it.")
    with appearing_whole(folder) as staged:
        for uri in objects:
            to = staged / uri.rpartition("/")[2]
            with storage.open_seekable(uri, _POLICY) as source, to.open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
    return folder


def _folder(url: str) -> dict[str, ObjectInfo]:
    """The files of a model in a remote folder; of several layouts, only the one that is used."""
    base = storage.normalise(url).rstrip("/") + "/"
    found = {item.uri.removeprefix(base): item for item in storage.list_objects(base.rstrip("/"))}
    files = {file for file in found if is_needed(file)}
    weights = choose_by_name(files, url, url)
    unused = {file for file in weights_among(files) if file not in WEIGHTS_NAMES and file != weights}
    wanted = files - unused
    return {found[file].uri: found[file] for file in sorted(wanted)}


def _file(url: str) -> dict[str, ObjectInfo]:
    """One weights file, and `vocab.txt` from the same folder if there is one."""
    uri = storage.normalise(url)
    objects = {uri: storage.stat(uri, _POLICY)}
    words = storage.join(storage.parent(uri), "vocab.txt")
    try:
        objects[words] = storage.stat(words, _POLICY)
    except NotFoundError:
        return objects  # the standard vocabulary is used
    return objects
