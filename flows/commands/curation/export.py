"""`hanclip export`: write a dataset in another format, with a bar on stderr and the result on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from flows.options.curation import EXPORT
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.whole import print_table
from pipeline import storage, units
from pipeline.curation.export.columns import choose_columns
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.options import ExportOptions
from pipeline.curation.export.registry import ExportFormat, exporter, name_rules, unused
from pipeline.dataset.latest_rows import count
from pipeline.errors import ConfigError
from pipeline.phases import counted


@dataclass(frozen=True, slots=True)
class Target:
    """What to export, where to, in which format."""

    out: str
    dest: str
    to: ExportFormat


def write_export(target: Target, chosen: ExportOptions, dry_run: bool, as_json: bool) -> None:
    """Export; with `dry_run` only print what would be exported."""
    write, dest = exporter(target.to), storage.normalise(target.dest)
    request = ExportRequest(target.out, dest, chosen)
    _check(target, request)
    storage.check_writable(dest, probe=not dry_run)
    if not dry_run:
        storage.remove_abandoned(dest)
    rows = count(target.out)
    if dry_run:
        ended = Exported({})
    else:
        doing = f"Writing {target.to}"
        with phase_bar(doing, transient=False, silent=as_json) as on_phase:
            ended = write(replace(request, on_rows=counted(on_phase, doing, rows)))
    if as_json:
        facts = {"dry_run": dry_run, "format": target.to, "dest": dest, "rows_in_dataset": rows, "rows": ended.rows}
        write_json("export", {**facts, **asdict(ended)})
    else:
        title = "plan (nothing was written)" if dry_run else "complete"
        print_table(panel(title, _facts(target, dest, rows, ended)))


def _check(target: Target, request: ExportRequest) -> None:
    """Raise ConfigError or UsageError for what cannot be exported: to there, with these options, by these names."""
    if storage.is_inside(request.dest, target.out):
        raise ConfigError(f"{target.dest} is inside the dataset {target.out}: choose a DEST outside of it.")
    if ignored := unused(target.to, request.options):
        named = ", ".join(map(EXPORT.flag, ignored))
        raise ConfigError(f"{target.to} does not use {named}: omit it, or choose another format with --to.")
    if rules := name_rules(target.to):
        choose_columns(request, rules)


def _facts(target: Target, dest: str, rows: int, ended: Exported) -> Iterator[tuple[str, object]]:
    yield "of", f"{target.out}: {units.count(rows, 'row')}"
    yield "to", f"{dest} ({target.to})"
    for uri, written in ended.files.items():
        yield storage.relative(uri, dest), units.count(written, "row")
    if ended.left_out:
        yield "left out", f"{units.count(ended.left_out, 'row')}, {ended.why}"
    if ended.missing_images:
        yield "images", f"{ended.missing_images:,} could not be read and are null"
    if ended.next:
        yield "next", ended.next
