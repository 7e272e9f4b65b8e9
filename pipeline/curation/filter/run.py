"""All of a filter: from a dataset and settings to the tables, the dataset or the tars of the kept rows.

In: a dataset and `FilterSettings`. Out: what they ask for, and `FilterRun`, which says what each rule did and what was
written. The same call again, after whatever happened, leaves the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline import storage
from pipeline.curation.filter.filtering import Filtered, filtering, tables_folder, write_tables
from pipeline.curation.filter.rules import WHERE, FilterRule
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.filter.threshold import Threshold
from pipeline.curation.tars.writer import TarLimits
from pipeline.dataset.history import latest_config
from pipeline.errors import UsageError
from pipeline.phases import OnPhase, counted
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import Form

UNREAD = "unread.parquet"


@dataclass(frozen=True, slots=True)
class FilterRun:
    """What came of a filter; `written` says what and where, and is empty where nothing was to be written."""

    filtered: Filtered
    written: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        counts, cut = self.filtered.counts, self.filtered.cut
        return {
            "out": self.filtered.out,
            "rows": counts.rows,
            "kept": counts.kept,
            "dropped": counts.dropped,
            "rules": [asdict(rule) for rule in counts.rules],
            "together": [{"rules": pair, "dropped": rows} for pair, rows in counts.together.items()],
            "threshold": asdict(cut) if cut else None,
            "written": self.written,
        }


def filter_rows(out: str, settings: FilterSettings, on_phase: OnPhase, dry_run: bool = False) -> FilterRun:
    """Judge the rows of the dataset at `out` and write what is asked for; a dry run only counts.

    Raises:
        UsageError: a rule is wrong, or a table that it needs is missing or behind.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read or written; the same call goes on.
    """
    settings.check(out)
    if settings.form != Form.IDS:
        refuse_source(out, settings.dest or "")
    rules = [FilterRule(one.name, one.sql) for one in settings.rules]
    rules += [FilterRule(WHERE, settings.where)] if settings.where else []
    threshold = Threshold.parse(settings.threshold_for) if settings.threshold_for else None
    with filtering(out, rules, threshold, on_phase, _columns(out, settings)) as (filtered, work):
        return FilterRun(filtered, {} if dry_run else _write(settings, filtered, work, on_phase))


def refuse_source(out: str, dest: str) -> None:
    """Raise UsageError for a place that the next `embed` would take for a part of its source."""
    try:
        uris = latest_config(out).source.uris
    except UsageError:  # no run left its configuration
        return
    there = f"{storage.normalise(dest)}/"
    for uri in uris:
        if not uri.strip("./") and uri.startswith("."):
            continue  # it was relative to a folder that nobody remembers
        if there.startswith(f"{storage.normalise(uri).rstrip('/')}/"):
            raise UsageError(
                f"{dest} lies in {uri}, which the dataset is embedded from: the next `hanclip embed` would take "
                "what is written there for records. Choose another DEST."
            )


def _columns(out: str, settings: FilterSettings) -> list[str]:
    if settings.form != Form.TARS:
        return []
    from pipeline.curation.filter.tars import columns_of
    from pipeline.dataset.dataset import Dataset

    return columns_of(Dataset.open(out))


def _folder(out: str, settings: FilterSettings) -> str:
    """Where the tables go."""
    if settings.form == Form.IDS and settings.dest:
        return storage.normalise(settings.dest)
    return tables_folder(storage.normalise(out), settings.name)


def _write(settings: FilterSettings, filtered: Filtered, work: Workspace, on_phase: OnPhase) -> dict[str, Any]:
    """Write the tables and what else is asked for; says what and where."""
    folder = _folder(filtered.out, settings)
    storage.check_writable(folder)
    write_tables(folder, filtered, work)
    told: dict[str, Any] = {"tables": folder}
    storage.delete(storage.join(folder, UNREAD))  # of an earlier filter of this name
    if settings.form == Form.IDS:
        return told
    uri = storage.normalise(settings.dest or "")
    storage.check_writable(uri)
    if settings.form == Form.DATASET:
        return {**told, **_write_dataset(filtered, work, uri, on_phase)}
    return {**told, **_write_tars(settings, filtered, work, folder, on_phase)}


def _write_dataset(filtered: Filtered, work: Workspace, uri: str, on_phase: OnPhase) -> dict[str, Any]:
    from pipeline.curation.filter.dataset import write_dataset

    made = write_dataset(filtered, work, uri, on_phase)
    return {"dataset": uri, "written": made.rows}


def _write_tars(
    settings: FilterSettings, filtered: Filtered, work: Workspace, folder: str, on_phase: OnPhase
) -> dict[str, Any]:
    from pipeline.curation.filter.tars import write_failures, write_tars

    kept, uri = filtered.counts.kept, storage.normalise(settings.dest or "")
    limits = TarLimits(settings.tar_rows, settings.tar_bytes)
    tars = write_tars(filtered, work, uri, limits, counted(on_phase, "Copying images", kept))
    reasons = dict(write_failures(storage.join(folder, UNREAD), tars, filtered))
    sizes = {"tars": len(tars.notes), "size_bytes": tars.size_bytes}
    return {"uri": uri, "written": tars.written, "failed": tars.failed, "reasons": reasons, **sizes}
