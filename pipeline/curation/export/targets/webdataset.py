"""Exports all rows to WebDataset tars with the original images, as `hanclip filter` does without a rule.

000000.tar, 000001.tar, ...    key.jpg, key.txt, key.json for each row
A row whose image cannot be read is left out and listed in `_tars/`.
"""

from __future__ import annotations

from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.filter.filtering import filtering
from pipeline.curation.filter.run import refuse_source
from pipeline.curation.filter.tars import columns_of, write_tars
from pipeline.curation.tars.options import MIXED, TarOptions
from pipeline.curation.tars.writer import TAR
from pipeline.dataset.dataset import Dataset
from pipeline.phases import ignore

#: Rows per tar: fewer than in files of vectors, since images are large.
_ROWS = 10_000


def export(request: ExportRequest) -> Exported:
    """Write the tars, or resume an interrupted export."""
    refuse_source(request.out, request.dest, TAR)
    rows = request.options.rows_per_file if "rows_per_file" in request.options.model_fields_set else _ROWS
    options = TarOptions(rows, image_name=request.options.image_name)
    with filtering(request.out, [], None, ignore, columns_of(Dataset.open(request.out))) as (filtered, work):
        tars = write_tars(filtered, work, request.dest, options, request.on_rows)
    loaded = f"datasets.load_dataset('webdataset', data_files={f'{request.dest}/*.tar'!r}, streaming=True)"
    following = f"{MIXED} ({'; '.join(tars.mixed)})" if tars.mixed else loaded
    return Exported({request.dest: tars.written}, tars.failed, "whose image could not be read: see _tars/", following)
