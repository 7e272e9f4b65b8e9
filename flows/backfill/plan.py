"""Plans a backfill: which partitions are due, in which order, and why.

In: a `BackfillRequest` and a `RunConfig` with `{date}` in its source. Out: a `BackfillPlan`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.backfill.grid import Grid, first_grid
from flows.backfill.request import BackfillRequest
from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.partitions.due import Verdict, due, judge
from pipeline.partitions.manifests import read_states
from pipeline.partitions.template import partitions


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What to run: all partitions, those chosen in their order, and the grid with the reasons."""

    verdicts: tuple[Verdict, ...]
    chosen: tuple[Verdict, ...]
    grid: Grid


def plan(request: BackfillRequest, config: RunConfig) -> BackfillPlan:
    """Compare the request with the manifests of the output; starts nothing.

    Raises:
        ConfigError: the source is not a template, or does not fit the requested partitions.
        StorageError: the manifests cannot be read.
    """
    if not config.output.uri:
        raise ConfigError("output.uri is not set: give the dataset to write to.")
    if config.source.whole_catalog:
        raise ConfigError(
            "--whole-catalog does not fit a backfill: each partition would mark the others' ids as gone. Leave it out."
        )
    wanted = partitions(config, request.chosen_keys())
    verdicts = judge(wanted, read_states(config.output.uri), request.reprocess)
    chosen = due(verdicts, request.order, request.limit)
    return BackfillPlan(tuple(verdicts), tuple(chosen), first_grid(verdicts, chosen))
