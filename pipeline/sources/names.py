"""Recognises files by their names: images, and the format that a file belongs to."""

from __future__ import annotations

import os

from pipeline import storage
from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.sources.registry import formats
from pipeline.vocabulary import SourceKind


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def kind_of(uri: str) -> SourceKind | None:
    """The format that a file of this name belongs to."""
    name = storage.name(uri).lower()
    if is_image(name):  # also of the bare name "jpg", on which ids in existing datasets depend
        return "folder"
    return next((known.name for known in formats().values() if name.endswith(known.suffixes)), None)


def is_folder(uri: str) -> bool:
    """Whether `uri` must be listed: a local folder, or a URL whose name belongs to no format."""
    return os.path.isdir(uri) if storage.is_local(uri) else kind_of(uri) is None
