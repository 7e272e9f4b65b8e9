"""The sections of a job's report that tell of its steps. Pure: values in, markdown out.

In: what the driver left (`StepOutcome`) and what it was asked for. Out: a section per step, and the commands that do
the same here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.scheduled.pages.markup import bash, table
from flows.terminal import figures
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings
from pipeline.jobs.job import StepOutcome
from pipeline.jobs.steps import DedupStep, Step

#: Options of `hanclip dedup` and `hanclip filter` that are not called like their field.
_FLAGS = {"rungs": "--rung", "form": "--as"}
_RULES_FILE = "rules.yaml"


def said(outcome: StepOutcome) -> str:
    """A step in a few words, for a line of a job's verdict."""
    return f"{outcome.kind}: {outcome.message or outcome.state}"


def section(outcome: StepOutcome) -> str:
    """What came of a step, with its heading."""
    parts = [f"## {outcome.kind.capitalize()}: {outcome.state}"]
    if outcome.found is None:
        return "\n\n".join([*parts, *filter(None, [outcome.message])])
    pairs = list((_duplicates if outcome.kind == "dedup" else _kept)(outcome.found))
    pairs.append(("time", figures.duration(outcome.seconds)))
    parts.append(table(pairs[0], pairs[1:]))
    if "together" in outcome.found:
        parts.append(_rules(outcome.found))
    return "\n\n".join(parts)


def commands(step: Step) -> str:
    """What does the same as `step` on this machine, to be copied."""
    values = dict(_given(step.settings))
    words = ["hanclip", step.kind, step.out]
    if isinstance(step, DedupStep):
        return bash(shlex.join([*words, *_words(values)]))
    dest, rules = values.pop("dest", None), values.pop("rules", ())
    words += [dest] if dest else []
    if not rules:
        return bash(shlex.join([*words, *_words(values)]))
    # JSON is YAML, with every quote where it belongs.
    file = [f"  {json.dumps(rule.name)}: {json.dumps(rule.sql, ensure_ascii=False)}" for rule in rules]
    lines = "\n".join([f"```yaml\n# {_RULES_FILE}\nrules:", *file, "```"])
    return lines + "\n\n" + bash(shlex.join([*words, "--rules", _RULES_FILE, *_words(values)]))


def _given(settings: DedupSettings | FilterSettings) -> Iterator[tuple[str, Any]]:
    for name, info in type(settings).model_fields.items():
        if (value := getattr(settings, name)) != info.default:
            yield name, value


def _words(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
        for one in value if isinstance(value, tuple) else (value,):
            yield from (flag, str(one))


def _duplicates(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "rows", f"{found['rows']:,} = {found['kept']:,} kept + {found['dropped']:,} dropped"
    yield "groups", f"{found['groups']:,}"
    yield "dropped by", figures.by_reason(found["by_rung"]) or f"nothing ({', '.join(found['rungs'])})"
    if found["largest"]:
        yield "largest", ", ".join(f"{size:,} rows ({name})" for name, size in found["largest"])
    if found["lowest_cosine"] is not None:
        yield "least alike", f"cosine {found['lowest_cosine']:.3f} with the row that stays; groups may be chains"
    if found["vectors"]:
        yield "vectors", f"{found['vectors']:,}, {found['new_vectors']:,} of them new"
    yield "table", f"`{found['uri']}`"


def _kept(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    share = f" ({figures.share(found['kept'] / found['rows'])})" if found["rows"] else ""
    yield "rows", f"{found['rows']:,} = {found['kept']:,} kept{share} + {found['dropped']:,} dropped"
    if cut := found["threshold"]:
        yield "threshold", f"`{cut['column']} >= {cut['value']}`"
    written = found["written"]
    if "failed" in written:
        lost = f" ({figures.by_reason(written['reasons'])})" if written["failed"] else ""
        yield "images", f"{written['written']:,} written + {written['failed']:,} failed{lost}"
        yield "tars", f"{written['tars']:,}, {figures.size(written['size_bytes'])}: `{written['uri']}`"
    if "dataset" in written:
        yield "dataset", f"{written['written']:,} rows: `{written['dataset']}`"
    yield "tables", f"`{written['tables']}`"


def _rules(found: Mapping[str, Any]) -> str:
    """What each rule did; `of these first` adds up to what was dropped."""
    head = ("rule", "condition", "drops", "of these first", "alone", "unknown")
    counts: Sequence[str] = ("dropped", "first", "alone", "unknown")
    rows = [
        (rule["name"], f"`{' '.join(rule['sql'].split())}`", *(f"{rule[name]:,}" for name in counts))
        for rule in found["rules"]
    ]
    return table(head, rows)
