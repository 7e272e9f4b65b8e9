"""Recognises files by their names: images, the format that a file belongs to, and why a file belongs to none."""

from __future__ import annotations

import os
import re

from pipeline import storage
from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.sources.registry import formats
from pipeline.vocabulary import Skip, SourceKind

#: Browsers, downloaders and copying tools write these names and rename them at the end.
_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".opdownload", ".aria2")
#: What servers append to a name, and downloaders keep: `a.jpg?size=large`, `a.jpg!w800`, `a.jpg@80w`, `a.jpg:large`.
#: Others mean something else: `a.jpg:Zone.Identifier` is Windows' note on where a file came from.
_APPENDED = re.compile(r"\.(?P<suffix>[a-z0-9]+)(?:[?!&]|@\d|:(?:large|medium|small|thumb|orig)$)[^/]*$", re.IGNORECASE)


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's, or like an image's URL."""
    if name.rpartition(".")[2].lower() in IMAGE_SUFFIXES:
        return True
    appended = _APPENDED.search(name)
    return appended is not None and appended["suffix"].lower() in IMAGE_SUFFIXES


def stem_of(uri: str) -> str:
    """What the name of an image and that of its text share: everything before the suffix."""
    appended = None if uri.rpartition(".")[2].lower() in IMAGE_SUFFIXES else _APPENDED.search(uri)
    return uri[: appended.start()] if appended else uri.rpartition(".")[0]


def why_not(uri: str) -> Skip:
    """Why a file that is not of the source's format is left out."""
    name = storage.name(uri).lower()
    if name.endswith(_UNFINISHED):
        return Skip.UNFINISHED
    if kind_of(uri) and not is_weak(uri):
        return Skip.OTHER_FORMAT
    stem, dot, suffix = name.rpartition(".")
    return Skip.UNKNOWN_SUFFIX if stem and dot and suffix else Skip.NO_SUFFIX


def kind_of(uri: str) -> SourceKind | None:
    """The format that a file of this name belongs to."""
    name = storage.name(uri).lower()
    if is_image(name):  # also of the bare name "jpg", on which ids in existing datasets depend
        return "folder"
    return next((known.name for known in formats().values() if name.endswith(known.suffixes)), None)


def is_weak(uri: str) -> bool:
    """Whether a file of this name can be many other things than a source of its format."""
    name = storage.name(uri).lower()
    return any(name.endswith(known.weak) for known in formats().values())


def is_folder(uri: str) -> bool:
    """Whether `uri` must be listed: a local folder, or a URL whose name belongs to no format."""
    return os.path.isdir(uri) if storage.is_local(uri) else kind_of(uri) is None
