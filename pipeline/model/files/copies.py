"""Local copies of models at URLs, in hanclip's cache: made once, and again when the files there change."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import ModelError, NotFoundError
from pipeline.model.files.cache import cache_folder
from pipeline.model.files.contents import ORIGINAL, choose_weights, is_needed
from pipeline.storage import ObjectInfo, ReadPolicy

_COPY_BYTES = 8 * 2**20
#: A person names a model, and may well keep it on a server of their own network.
_POLICY = ReadPolicy.of(SourceConfig(allow_private_hosts=True))


def copied(url: str, fetch: bool) -> Path:
    """Folder of the copy of a remote folder's model files, or of one `.pt` file. Raises ModelError, StorageError.

    The copy is named after the files' names and fingerprints: new ones, new copy. Without `fetch` none is made.
    """
    objects = _file(url) if url.endswith(ORIGINAL) else _folder(url)
    key = repr([(uri, info.size_bytes, info.fingerprint) for uri, info in objects.items()])
    folder = cache_folder() / "models" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    if not fetch:
        size_mb = sum(info.size_bytes for info in objects.values()) / 1e6
        raise ModelError(
            f"The model {url} ({size_mb:,.0f} MB) was not copied to this machine yet: the first run does so."
        )
    _copy_whole(list(objects), folder)
    return folder


def _folder(url: str) -> dict[str, ObjectInfo]:
    """Files of a model in a remote folder; of several layouts the one that will be used."""
    base = storage.normalise(url).rstrip("/") + "/"
    found = {item.uri.removeprefix(base): item for item in storage.list_objects(base.rstrip("/"))}
    files = {file for file in found if is_needed(file)}
    weights = choose_weights(files, url, url)
    wanted = {file for file in files if not file.endswith(ORIGINAL) or file == weights}
    return {found[file].uri: found[file] for file in sorted(wanted)}


def _file(url: str) -> dict[str, ObjectInfo]:
    """One `.pt` file, and `vocab.txt` where that lies beside it."""
    uri = storage.normalise(url)
    objects = {uri: storage.stat(uri, _POLICY)}
    words = storage.join(storage.parent(uri), "vocab.txt")
    try:
        objects[words] = storage.stat(words, _POLICY)
    except NotFoundError:
        return objects  # the standard vocabulary will do
    return objects


def _copy_whole(uris: list[str], folder: Path) -> None:
    """The folder appears with all files in it or not at all; of two copiers at once, the first wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as staged:
        for uri in uris:
            to = Path(staged) / uri.rpartition("/")[2]
            with storage.open_seekable(uri, _POLICY) as source, to.open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
        try:
            os.rename(staged, folder)
        except OSError:
            if not folder.is_dir():
                raise
