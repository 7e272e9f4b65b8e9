"""Runs a filter: from a dataset and settings to the tables, the dataset or the tars of the kept rows.

In: a dataset and `FilterSettings`. Out: the requested output, and a `FilterRun` with the counts of each rule and what
was written. The call is idempotent: repeated after a failure it gives the same output.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from pipeline import storage
from pipeline.curation.filter.dataset import write_dataset
from pipeline.curation.filter.filtering import Filtered, filtering, tables_folder, write_tables
from pipeline.curation.filter.ids import ListedIds
from pipeline.curation.filter.rules import WHERE, FilterRule
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.filter.tars import columns_of, write_failures, write_tars
from pipeline.curation.filter.threshold import Threshold
from pipeline.curation.tars.options import TarOptions
from pipeline.curation.tars.writer import TAR
from pipeline.curation.values.json_values import number
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import latest_config
from pipeline.errors import UsageError
from pipeline.phases import OnPhase, counted
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import Form

UNREAD = "unread.parquet"
#: A file below DEST as each form writes it.
_WRITTEN = {Form.TARS: TAR, Form.DATASET: f"{layout.EMBEDDINGS}/run_date=2026-01-01/0.parquet"}


@dataclass(frozen=True, slots=True)
class FilterRun:
    """The result of a filter; `written` states what was written and where, and is empty for a dry run."""

    filtered: Filtered
    written: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        counts, cut = self.filtered.counts, self.filtered.cut
        return {
            "out": self.filtered.out,
            "rows": counts.rows,
            "kept": counts.kept,
            "dropped": counts.dropped,
            "rules": [asdict(rule) for rule in counts.rules],
            "together": [{"rules": pair, "dropped": rows} for pair, rows in counts.together.items()],
            "threshold": {**asdict(cut), "value": _plain(cut.value)} if cut else None,
            "written": self.written,
        }


def _plain(value: float | int | Decimal) -> float | int:
    """The number as JSON has it; the rule has all its digits."""
    return number(value) if isinstance(value, Decimal) else value


def filter_rows(out: str, settings: FilterSettings, on_phase: OnPhase, dry_run: bool = False) -> FilterRun:
    """Apply rules to the rows of the dataset at `out` and write the requested output; a dry run only counts.

    Raises:
        UsageError: a rule is wrong, or a table that it needs is missing or stale.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read or written; the same call resumes.
    """
    settings.check(out)
    if settings.form != Form.IDS:
        refuse_source(out, settings.dest or "", _WRITTEN[settings.form])
    rules = [FilterRule(one.name, one.sql) for one in settings.rules]
    rules += [FilterRule(WHERE, settings.where)] if settings.where else []
    listed = ListedIds(settings.ids) if settings.ids else None
    rules += [listed.rule] if listed else []
    threshold = Threshold.parse(settings.threshold_for) if settings.threshold_for else None
    with filtering(out, rules, threshold, on_phase, _columns(out, settings), settings.time_limit_s) as (filtered, work):
        if listed:
            listed.refuse_strangers(filtered.counts)
        return FilterRun(filtered, {} if dry_run else _write(settings, filtered, work, on_phase))


def refuse_source(out: str, dest: str, written: str) -> None:
    """Raise UsageError if the next `embed` would read a file that is `written` below `dest` as part of its source."""
    try:
        uris = latest_config(out).source.uris
    except UsageError:  # no run stored its configuration
        return
    for uri in uris:
        if not uri.strip("./") and uri.startswith("."):
            continue  # relative to a working folder that is not known
        if storage.would_have(uri, storage.join(dest, written)):
            raise UsageError(
                f"{dest} is inside {uri}, the source of the dataset: the next `hanclip embed` would read the output as "
                "records. Choose another DEST."
            )


def _columns(out: str, settings: FilterSettings) -> list[str]:
    if settings.form != Form.TARS:
        return []
    return columns_of(Dataset.open(out))


def _folder(out: str, settings: FilterSettings) -> str:
    """Folder of the tables."""
    if settings.form == Form.IDS and settings.dest:
        return storage.normalise(settings.dest)
    return tables_folder(storage.normalise(out), settings.name)


def _write(settings: FilterSettings, filtered: Filtered, work: Workspace, on_phase: OnPhase) -> dict[str, Any]:
    """Write the tables and the requested output; returns what was written and where."""
    folder = _folder(filtered.out, settings)
    storage.check_writable(folder)
    storage.remove_abandoned(folder)
    write_tables(folder, filtered, work)
    written: dict[str, Any] = {"tables": folder}
    storage.delete(storage.join(folder, UNREAD))  # of an earlier filter of this name
    if settings.form == Form.IDS:
        return written
    uri = storage.normalise(settings.dest or "")
    storage.check_writable(uri)
    storage.remove_abandoned(uri)
    if settings.form == Form.DATASET:
        return {**written, **_write_dataset(filtered, work, uri, on_phase)}
    return {**written, **_write_tars(settings, filtered, work, folder, on_phase)}


def _write_dataset(filtered: Filtered, work: Workspace, uri: str, on_phase: OnPhase) -> dict[str, Any]:
    made = write_dataset(filtered, work, uri, on_phase)
    return {"dataset": uri, "written": made.rows}


def _write_tars(
    settings: FilterSettings, filtered: Filtered, work: Workspace, folder: str, on_phase: OnPhase
) -> dict[str, Any]:
    kept, uri = filtered.counts.kept, storage.normalise(settings.dest or "")
    options = TarOptions(settings.tar_rows, settings.tar_bytes, settings.image_name)
    tars = write_tars(filtered, work, uri, options, counted(on_phase, "Copying images", kept))
    reasons = dict(write_failures(storage.join(folder, UNREAD), tars, filtered))
    sizes = {"tars": len(tars.notes), "size_bytes": tars.size_bytes, "mixed": tars.mixed, "late": tars.late}
    return {"uri": uri, "written": tars.written, "failed": tars.failed, "reasons": reasons, **sizes}
