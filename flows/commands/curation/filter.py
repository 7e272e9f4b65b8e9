"""`hanclip filter`: apply rules to the rows of a dataset, and write those that pass.

In: the command's options. Out: tables, a dataset or tars; a bar on stderr, counts on stdout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.facts.filter import RULE_COUNTS, filter_facts, rule_counts, rule_sql
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import facts
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.curation.filter.rules import read_rules
from pipeline.curation.filter.run import FilterRun, filter_rows
from pipeline.curation.filter.settings import FilterSettings, NamedRule


def run(out: str, settings: FilterSettings, dry_run: bool, as_json: bool) -> None:
    """Filter, and print the counts."""
    with phase_bar("Reading keys", transient=False, silent=as_json) as on_phase:
        done = filter_rows(out, settings, on_phase, dry_run)
    if as_json:
        write_json("filter", {"dry_run": dry_run, **done.to_json()})
    else:
        title = "plan (nothing was written)" if dry_run else "complete"
        print_table(Panel(_report(done), title=title, title_align="left"))


def named_rules(path: Path) -> tuple[NamedRule, ...]:
    """The rules of a YAML file. Raises ConfigError."""
    return tuple(NamedRule(name=rule.name, sql=rule.sql) for rule in read_rules(path))


def _report(done: FilterRun) -> RenderableType:
    found = done.to_json()
    rules = [(rule["name"], rule_sql(rule)) for rule in found["rules"]]
    return Group(facts([*rules, *filter_facts(found)]), Text(), _table(found["rules"]))


def _table(rules: Iterable[Mapping[str, Any]]) -> Table:
    """The counts of each rule."""
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("rule", no_wrap=True)
    for name in RULE_COUNTS.values():
        table.add_column(name, justify="right")
    for rule in rules:
        table.add_row(plain(rule["name"]), *rule_counts(rule))
    return table
