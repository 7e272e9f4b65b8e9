"""The options of curation commands, where more than the command itself needs their names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flows.options.field import METAVARS
from flows.options.model import ModelOptions

if TYPE_CHECKING:
    from pipeline.compaction.settings import CompactSettings
    from pipeline.curation.dedup.settings import DedupSettings
    from pipeline.curation.export.options import ExportOptions
    from pipeline.curation.filter.settings import FilterSettings
    from pipeline.curation.search.request import SearchRequest
    from pipeline.curation.sync.settings import SyncSettings

COMPACT: ModelOptions[CompactSettings] = ModelOptions(
    "pipeline.compaction.settings:CompactSettings", command="compact", metavars=METAVARS
)
DEDUP: ModelOptions[DedupSettings] = ModelOptions(
    "pipeline.curation.dedup.settings:DedupSettings",
    command="dedup",
    names={"rungs": "rung"},
    metavars={
        **METAVARS,
        "rungs": "RUNG",
        "same": "COLUMN",
        "not_duplicates": "FILE",
        "against": "OUT",
        "keep_sql": "ORDER",
    },
    limits=False,
)
FIND = replace(DEDUP.only("phash_radius", "image_cosine"), command="find")
EXPORT: ModelOptions[ExportOptions] = ModelOptions(
    "pipeline.curation.export.options:ExportOptions",
    command="export",
    names={"columns": "column"},
    metavars={"columns": "NAME", "rename": "OLD=NEW"},
)
FILTER: ModelOptions[FilterSettings] = ModelOptions(
    "pipeline.curation.filter.settings:FilterSettings",
    command="filter",
    names={"form": "as"},
    metavars={**METAVARS, "where": "SQL", "rules": "FILE", "ids": "FILE", "name": "NAME"},
    hidden=("dest",),  # a positional argument
)
SEARCH: ModelOptions[SearchRequest] = ModelOptions(
    "pipeline.curation.search.request:SearchRequest",
    command="search",
    names={"searched": "in", "without": "not"},
    shorts={"top": "-k"},
    metavars={**METAVARS, "where": "SQL", "without": "QUERY"},
    hidden=("queries",),  # positional arguments, and options for each kind
)
SYNC: ModelOptions[SyncSettings] = ModelOptions(
    "pipeline.curation.sync.settings:SyncSettings",
    command="sync",
    names={"columns": "column"},
    metavars={**METAVARS, "columns": "NAME", "collection": "NAME", "where": "SQL"},
    hidden=("dest", "to"),  # both are required
)
