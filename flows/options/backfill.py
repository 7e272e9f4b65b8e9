"""The options of a backfill, made from `BackfillRequest`; those of its runs are in `flows.options.run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from flows.options.field import METAVARS
from flows.options.model import ModelOptions
from pipeline.partitions.dates import Every
from pipeline.vocabulary import Order, Reprocess

if TYPE_CHECKING:
    from flows.backfill.request import BackfillRequest

BACKFILL: ModelOptions[BackfillRequest] = ModelOptions(
    "flows.backfill.request:BackfillRequest",
    command="backfill",
    names={"partitions": "partition", "limit": "max_partitions"},  # `--limit` is the run's own
    panels={"start": "Backfill"},
    metavars={
        **METAVARS,
        "partitions": "KEY",
        "every": "|".join(get_args(Every)),
        "reprocess": "|".join(get_args(Reprocess)),
        "order": "|".join(get_args(Order)),
    },
    limits=False,
)
