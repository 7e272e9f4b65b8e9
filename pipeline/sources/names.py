"""Kinds of files by their names: images, texts, tars, tables."""

from __future__ import annotations

import os

from pipeline import storage
from pipeline.sources.base import Kind

IMAGE_SUFFIXES = frozenset(
    "jpg jpeg jpe jfif png webp bmp dib gif tif tiff avif heic heif jp2 ico ppm pgm pbm tga".split()  # noqa: SIM905
)


TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")


TEXT_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


TABLE_SUFFIXES = PARQUET_SUFFIXES + TEXT_TABLE_SUFFIXES + tuple(f"{suffix}.gz" for suffix in TEXT_TABLE_SUFFIXES)


def kind_of(uri: str) -> Kind | None:
    """The kind of source that this file belongs to."""
    name = storage.name(uri).lower()
    if name.endswith(TAR_SUFFIXES):
        return "webdataset"
    if name.endswith(TABLE_SUFFIXES):
        return "table"
    return "folder" if is_image(name) or name.endswith(".txt") else None


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def is_folder(uri: str) -> bool:
    """Whether `uri` is to be listed: a local folder, or a URL whose name is not that of a known kind of file."""
    return os.path.isdir(uri) if storage.is_local(uri) else kind_of(uri) is None
