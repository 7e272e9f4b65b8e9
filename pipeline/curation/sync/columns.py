"""Chooses the columns of a collection: the vectors, and what is sent with them."""

from __future__ import annotations

import pyarrow as pa

from pipeline.curation.export.columns import chosen_columns, chosen_vectors
from pipeline.curation.sync.contract import SyncColumns
from pipeline.curation.sync.settings import SyncSettings
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset


def columns_of(dataset: Dataset, settings: SyncSettings) -> SyncColumns:
    """The columns that `settings` ask for. Raises UsageError if the dataset lacks one."""
    schema = dataset.identity.schema
    names = dict.fromkeys([*KEY, *chosen_columns(dataset, settings.columns)])
    vectors = chosen_vectors(dataset, settings.vectors)
    optional = tuple(name for name in vectors if schema.field(name).nullable)
    scalars = pa.schema([schema.field(name) for name in names])
    return SyncColumns(scalars, vectors, dataset.identity.dim, optional)
