"""Downloads models from the Hugging Face hub into the hub's own cache, or finds them there.

`HF_HUB_OFFLINE`, `HF_ENDPOINT` (the address of a mirror) and the hub's other settings apply. A repository holds the
model in transformers' format, a LoRA adapter, or only files that training code named itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.faults import translated
from pipeline.model.files.contents import (
    OWN_SUFFIXES,
    PICKLES,
    SAFETENSORS,
    SMALL_FILES,
    WEIGHTS_NAMES,
    file_names,
    where_from,
)
from pipeline.model.weights.adapter import ADAPTER_CONFIG

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
#: One file of a repository, under a name that training code chose.
HUB_FILE = re.compile(rf"({HUB_ID.pattern})/([\w.-]+(?:{'|'.join(map(re.escape, OWN_SUFFIXES))}))")


def snapshot(hub_id: str, revision: str | None, fetch: bool) -> Path:
    """Folder with the model's files, named after the commit; only from the cache unless `fetch`. Raises ModelError."""
    with translated():
        from huggingface_hub import snapshot_download

    def take(patterns: list[str]) -> Path:
        found = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns, local_files_only=not fetch))
        found.mkdir(parents=True, exist_ok=True)  # a repository without any of these files leaves none
        return found

    try:
        folder = take([*SMALL_FILES, *SAFETENSORS])
        if not _is_model(folder):  # second, so that only one of the two is downloaded
            folder = take([*SMALL_FILES, *PICKLES])
    except Exception as error:  # the errors of huggingface_hub and its HTTP client have no common base
        raise _absent(hub_id, revision, error if fetch else None, where_from(hub_id)) from error
    if not _is_model(folder) and fetch:
        raise ModelError(
            f"The repository {hub_id} holds no model in the Hugging Face format: if it has .pt files, name one of "
            f"them as --model {hub_id}/FILE.pt."
        )
    return folder


def _is_model(folder: Path) -> bool:
    """Whether there are weights, or an adapter, whose base has them."""
    return not file_names(folder).isdisjoint((*WEIGHTS_NAMES, ADAPTER_CONFIG))


def original(hub_id: str, file: str, revision: str | None, fetch: bool) -> Path:
    """Path of one weights file of a repository, in a folder named after the commit. Raises ModelError."""
    with translated():
        from huggingface_hub import hf_hub_download

    cure = f"download https://huggingface.co/{hub_id}/resolve/main/{file} and give its path as --model"
    try:
        return Path(hf_hub_download(hub_id, file, revision=revision, local_files_only=not fetch))
    except Exception as error:  # as above
        raise _absent(f"{hub_id}/{file}", revision, error if fetch else None, cure) from error


def _absent(what: str, revision: str | None, error: Exception | None, cure: str) -> ModelError:
    """The error for a model that is not in the cache; `error` is that of the download, if one was tried."""
    if isinstance(error, ModelError):
        return error
    at = f" at revision {revision}" if revision else ""
    where = f"The model {what}{at} is not in this machine's hub cache"
    if error is None:
        return ModelError(f"{where}: its first use downloads it; without a network, {cure}.")
    return ModelError(
        f"{where} and could not be downloaded ({type(error).__name__}). To try hanclip without a download: --model "
        f"demo. Otherwise check the name and the network, set HF_ENDPOINT to a mirror, or {cure}."
    )
