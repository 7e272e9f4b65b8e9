"""Every row as WebDataset tars, with the images as they were in their sources: a filter's tars without a rule.

000000.tar, 000001.tar, ...    key.jpg, key.txt, key.json for each row
A row whose image cannot be had is left out, and listed in the notes beside the tars.
"""

from __future__ import annotations

from pipeline.curation.export.registry import Exported, Request
from pipeline.curation.filter.filtering import filtering
from pipeline.curation.filter.run import refuse_source
from pipeline.curation.filter.tars import columns_of, write_tars
from pipeline.curation.tars.writer import TarLimits
from pipeline.dataset.dataset import Dataset
from pipeline.phases import ignore

#: Fewer than in files of vectors: images are large.
_ROWS = 10_000


def export(request: Request) -> Exported:
    """Write the tars, or go on with them."""
    refuse_source(request.out, request.dest)
    rows = request.options.rows_per_file if "rows_per_file" in request.options.model_fields_set else _ROWS
    with filtering(request.out, [], None, ignore, columns_of(Dataset.open(request.out))) as (filtered, work):
        tars = write_tars(filtered, work, request.dest, TarLimits(rows, None), request.on_rows)
    return Exported({request.dest: tars.written}, tars.failed, why="whose image could not be had: see _tars/")
