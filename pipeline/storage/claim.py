"""Claims a folder for one purpose: a JSON object in it, created once, states what the folder is for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pipeline.errors import AlreadyExistsError, NotFoundError, UsageError
from pipeline.storage.lines import json_bytes, read_tree
from pipeline.storage.listing import list_objects
from pipeline.storage.uris import parent
from pipeline.storage.writing import create

_CURE = "restore it from a copy, or choose another folder"


def read_claim(uri: str) -> dict[str, Any] | None:
    """The claim at `uri`; None when there is none. Raises StorageError if it is damaged."""
    try:
        return read_tree(uri, _CURE)
    except NotFoundError:
        return None


def claim_folder(uri: str, claim: Mapping[str, Any], content: str) -> dict[str, Any]:
    """Claim the folder of the object `uri`, unless it is claimed already; returns the claim that holds.

    Args:
        uri: the object that holds the claim.
        claim: what to write there.
        content: what the folder would hold, for the error.

    Raises:
        UsageError: the folder is not empty and has no claim.
        StorageError: the claim is damaged.
    """
    found = claim_or_empty(uri, content)
    if found is None:
        with suppress(AlreadyExistsError):
            create(uri, json_bytes(claim))
        found = read_tree(uri, _CURE)
    return found


def claim_or_empty(uri: str, content: str) -> dict[str, Any] | None:
    """The claim at `uri`; None when its folder is empty. `content` is what the folder would hold, for the error.

    The folder is listed before the claim is read: whoever claims it writes the claim before anything else.

    Raises:
        UsageError: the folder is not empty and has no claim.
        StorageError: the claim is damaged.
    """
    used = False
    with suppress(NotFoundError):
        used = next(iter(list_objects(parent(uri))), None) is not None
    found = read_claim(uri)
    if found is None and used:
        raise UsageError(f"{parent(uri)} is not empty and holds no {content}: choose another folder.")
    return found
