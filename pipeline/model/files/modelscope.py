"""Downloads models from ModelScope into hanclip's cache, or finds them there. Needs no package of ModelScope.

In: `modelscope:ORG/NAME`. Out: a folder. `MODELSCOPE_DOMAIN` names another server, `MODELSCOPE_API_TOKEN` opens private
models, as for ModelScope's own client. Each file is checked against the digest in the server's list. If the server
cannot be reached, the newest copy is used.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.model.files.contents import SMALL_FILES, WEIGHTS_NAMES, choose_by_name, is_needed, weights_among
from pipeline.model.local.cache import appearing_whole, cache_folder, write_atomically

SCHEME = "modelscope:"
_ID = re.compile(rf"{SCHEME}([\w.-]+/[\w.-]+)")
#: Name of a copy: the beginning of a digest.
_KEY = re.compile(r"[0-9a-f]{16}")
_DOMAIN = "www.modelscope.cn"
_TIMEOUT_S = 60.0
_COPY_BYTES = 2**20
#: What a server, a network or a damaged answer raises.
_FAILURES = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


def snapshot(name: str, revision: str | None, fetch: bool) -> Path:
    """Folder with the files of a model; from the cache if the server does not answer, or unless `fetch`.

    Raises:
        ModelError: there is no such model, or it could not be downloaded.
    """
    found = _ID.fullmatch(name)
    if found is None:
        raise ModelError(f"{name} is no model of ModelScope: give {SCHEME}ORG/NAME as --model.")
    model, branch = found[1], revision or "master"
    newest = _newest(model, branch)
    if not fetch:
        if newest is None:
            raise ModelError(f"The model {name} is not on this machine yet: its first use downloads it.")
        return newest
    try:
        return _download(model, branch, _listed(model, branch))
    except _FAILURES as error:
        if newest is not None:
            return newest
        raise ModelError(
            f"The model {name} at revision {branch} could not be downloaded from {_endpoint()} "
            f"({type(error).__name__}: {error}): check the name and the network, or download it with `modelscope "
            f"download --model {model} --local_dir FOLDER` elsewhere and give that folder as --model."
        ) from error


def _endpoint() -> str:
    domain = os.environ.get("MODELSCOPE_DOMAIN") or _DOMAIN
    return domain.rstrip("/") if "://" in domain else f"https://{domain}"


def _get(path: str, **query: str) -> http.client.HTTPResponse:
    address = f"{_endpoint()}/api/v1/models/{path}?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(address, headers={"User-Agent": "hanclip"})
    if token := os.environ.get("MODELSCOPE_API_TOKEN"):
        # Not sent on to the store that the server redirects to.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
        request.add_unredirected_header("Cookie", f"m_session_id={token}")
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # http(s)
    return response


def _listed(model: str, revision: str) -> dict[str, Mapping[str, Any]]:
    """The server's entries of the files that are needed, by name."""
    with _get(f"{model}/repo/files", Revision=revision, Recursive="false") as response:
        entries = json.load(response)["Data"]["Files"]
    files = {str(entry["Path"]): entry for entry in entries if entry.get("Type") != "tree"}
    needed = {name for name in files if is_needed(name)}
    weights = choose_by_name(needed, f"{SCHEME}{model}", f"{SCHEME}{model}")
    unused = {name for name in weights_among(needed) if name not in WEIGHTS_NAMES and name != weights}
    if weights in WEIGHTS_NAMES[:2]:  # safetensors: the same weights once more are not needed
        unused |= {name for name in needed if name not in SMALL_FILES and not name.startswith("model")}
    return {name: files[name] for name in sorted(needed - unused)}


def _download(model: str, revision: str, files: Mapping[str, Mapping[str, Any]]) -> Path:
    """Download what is not here yet; the folder appears whole or not at all, named after the files' digests."""
    key = hashlib.sha256(repr([(name, entry.get("Sha256")) for name, entry in files.items()]).encode()).hexdigest()[:16]
    folder = _home(model) / key
    if not folder.is_dir():
        with appearing_whole(folder) as staged:
            for name, entry in files.items():
                _download_file(model, revision, name, entry.get("Sha256"), staged / name)
    write_atomically(_pointer(model, revision), key)
    return folder


def _download_file(model: str, revision: str, name: str, sha256: str | None, to: Path) -> None:
    digest = hashlib.sha256()
    with _get(f"{model}/repo", Revision=revision, FilePath=name) as response, to.open("wb") as file:
        while data := response.read(_COPY_BYTES):
            digest.update(data)
            file.write(data)
    if sha256 and digest.hexdigest() != sha256.lower():
        raise ValueError(f"{name} arrived with another digest than the server lists")


def _home(model: str) -> Path:
    return cache_folder() / "modelscope" / model.replace("/", "--")


def _pointer(model: str, revision: str) -> Path:
    """The file that names the newest copy of a revision."""
    return _home(model) / f"{urllib.parse.quote(revision, safe='')}.newest"


def _newest(model: str, revision: str) -> Path | None:
    try:
        key = _pointer(model, revision).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    folder = _home(model) / key
    return folder if _KEY.fullmatch(key) and folder.is_dir() else None
