"""Tables as a source: Parquet, CSV, TSV, JSON lines and arrays of JSON."""

from collections.abc import Sequence

from pipeline.sources.contract import SourceFormat
from pipeline.sources.names import is_image
from pipeline.sources.table import reader, scan
from pipeline.sources.table.columns import columns_of
from pipeline.sources.table.open import PARQUET_SUFFIXES, TEXT_SUFFIXES, WEAK_SUFFIXES


def _is_image_folder(uri: str, names: Sequence[str]) -> bool:
    """Whether these are images with a table of them, as Hugging Face's imagefolder has it: metadata.jsonl or .csv."""
    tables = [name for name in names if name.lower().endswith(PARQUET_SUFFIXES + TEXT_SUFFIXES)]
    named = all(name.rpartition("/")[2].lower().startswith("metadata.") for name in tables)
    return bool(tables) and named and any(map(is_image, names))


FORMAT = SourceFormat(
    name="table",
    plural="tables",
    suffixes=PARQUET_SUFFIXES + TEXT_SUFFIXES,
    sequential=lambda container, details: container.lower().endswith(TEXT_SUFFIXES),
    scan=scan.scan,
    reader=reader.TableReader,
    details=columns_of,
    recognises=_is_image_folder,
    weak=WEAK_SUFFIXES,
)
