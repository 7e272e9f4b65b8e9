"""Tables as a source: Parquet, CSV, TSV and JSON lines."""

from pipeline.sources.contract import SourceFormat
from pipeline.sources.table import reader, scan
from pipeline.sources.table.columns import columns_of
from pipeline.sources.table.open import PARQUET_SUFFIXES, TEXT_SUFFIXES

FORMAT = SourceFormat(
    name="table",
    plural="tables",
    suffixes=PARQUET_SUFFIXES + TEXT_SUFFIXES,
    sequential=lambda container, details: container.lower().endswith(TEXT_SUFFIXES),
    scan=scan.scan,
    reader=reader.TableReader,
    details=columns_of,
)
