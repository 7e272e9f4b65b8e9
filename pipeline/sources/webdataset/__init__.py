"""WebDataset tars as a source."""

from pipeline.sources.contract import SourceFormat
from pipeline.sources.webdataset import reader, scan
from pipeline.sources.webdataset.tar import TAR_SUFFIXES, is_sequential

FORMAT = SourceFormat(
    name="webdataset",
    plural="tars",
    suffixes=TAR_SUFFIXES,
    sequential=is_sequential,
    one_shard=True,
    scan=scan.scan,
    reader=reader.WebDatasetReader,
)
