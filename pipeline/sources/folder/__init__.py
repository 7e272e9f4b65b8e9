"""Folders of images and texts as a source."""

from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.sources.contract import SourceFormat
from pipeline.sources.folder import reader, scan

FORMAT = SourceFormat(
    name="folder",
    plural="images",
    suffixes=(*(f".{suffix}" for suffix in sorted(IMAGE_SUFFIXES)), ".txt"),
    scan=scan.scan,
    reader=reader.FolderReader,
    options=("inventory",),
)
