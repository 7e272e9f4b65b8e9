"""Renders a job's steps for its report in markdown.

In: the steps requested and their outcomes. Out: a section for each step, and the equivalent shell commands.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from flows.facts.compact import compact_facts
from flows.facts.dedup import dedup_facts
from flows.facts.filter import RULE_COUNTS, filter_facts, rule_counts, rule_sql
from flows.facts.sync import sync_facts
from flows.options.curation import COMPACT, DEDUP, FILTER, SYNC
from flows.scheduled.pages.markup import bash, fact_table, table
from flows.terminal import figures
from pipeline.jobs.job import StepOutcome
from pipeline.jobs.steps import CompactStep, DedupStep, Step, SyncStep

_RULES_FILE = "rules.yaml"
_FACTS = {"compact": compact_facts, "dedup": dedup_facts, "filter": filter_facts, "sync": sync_facts}


def section(outcome: StepOutcome) -> str:
    """The outcome of a step, with a heading."""
    parts = [f"## {outcome.kind.capitalize()}: {outcome.state}"]
    if outcome.found is None:
        return "\n\n".join([*parts, *filter(None, [outcome.message])])
    parts.append(fact_table([*_FACTS[outcome.kind](outcome.found), ("time", figures.duration(outcome.seconds))]))
    if outcome.kind == "filter":
        parts.append(_rules(outcome.found["rules"]))
    return "\n\n".join(parts)


def commands(step: Step) -> str:
    """Shell commands that do the same as `step` on this machine."""
    words = ["hanclip", step.kind, step.out]
    if isinstance(step, CompactStep):
        return bash(shlex.join([*words, *COMPACT.words(step.settings)]))
    if isinstance(step, DedupStep):
        return bash(shlex.join([*words, *DEDUP.words(step.settings)]))
    if isinstance(step, SyncStep):
        words += [step.settings.dest, "--to", step.settings.to]
        return bash(shlex.join([*words, *SYNC.words(step.settings)]))
    words += [step.settings.dest] if step.settings.dest else []
    options = FILTER.without("rules").words(step.settings)
    if not step.settings.rules:
        return bash(shlex.join([*words, *options]))
    # JSON strings are YAML, with all quotes escaped.
    file = [f"  {json.dumps(rule.name)}: {json.dumps(rule.sql, ensure_ascii=False)}" for rule in step.settings.rules]
    lines = "\n".join([f"```yaml\n# {_RULES_FILE}\nrules:", *file, "```"])
    return lines + "\n\n" + bash(shlex.join([*words, "--rules", _RULES_FILE, *options]))


def _rules(rules: Sequence[Mapping[str, Any]]) -> str:
    """What each rule did."""
    rows = [(rule["name"], f"`{rule_sql(rule)}`", *rule_counts(rule)) for rule in rules]
    return table(("rule", "condition", *RULE_COUNTS.values()), rows)
