"""Folders of images and texts as a source."""

from pipeline.sources.contract import SourceFormat
from pipeline.sources.folder import reader, scan
from pipeline.sources.names import IMAGE_SUFFIXES

FORMAT = SourceFormat(
    name="folder",
    plural="images",
    suffixes=(*(f".{suffix}" for suffix in sorted(IMAGE_SUFFIXES)), ".txt"),
    scan=scan.scan,
    reader=reader.FolderReader,
)
