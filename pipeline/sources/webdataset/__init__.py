"""WebDataset tars as a source."""

from pipeline.sources.contract import SourceFormat
from pipeline.sources.webdataset import reader, scan
from pipeline.sources.webdataset.tar import COMPRESSED_SUFFIXES, TAR_SUFFIXES

FORMAT = SourceFormat(
    name="webdataset",
    plural="tars",
    suffixes=TAR_SUFFIXES,
    sequential=COMPRESSED_SUFFIXES,
    scan=scan.scan,
    reader=reader.WebDatasetReader,
)
