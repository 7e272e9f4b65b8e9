"""A section of docs/benchmarks.md from a result: its command and machine, its table, and its goals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.figures.results import Result
from benchmarks.reporting import Goal, Row, markdown


def section(result: Result) -> str:
    """What the result says, as Markdown."""
    content = result.content
    about = f"`{content['command']}`, {result.machine}, commit {content['commit']}, {result.date}, load"
    head = f"{about} {content['load_average_before']:.1f} (`{result.file}`)."
    lines = [_goal({**given}) for given in content["goals"]]
    if "whole_wall_ratio" in content:
        lines.append(
            f"- over the whole run, start included, hanclip takes {content['whole_wall_ratio']:.2f} of the bare loop's"
            f" time and {content['whole_cpu_ratio']:.2f} of its CPU"
        )
    parts = [head, markdown([_flat(row) for row in result.rows]), *_ratios(content), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def _ratios(content: Mapping[str, Any]) -> list[str]:
    """A table of what the rows have in common, if there is one."""
    return [f"Side by side:\n\n{markdown(content['ratios'])}"] if content.get("ratios") else []


def _flat(row: Row) -> Row:
    """Without lists of single values."""
    return {key: value for key, value in row.items() if not isinstance(value, list)}


def _goal(given: dict[str, Any]) -> str:
    goal = Goal(given["what"], given["value"], given["at_most"], given["at_least"])
    bound = f"at most {_number(goal.at_most)}" if goal.at_most is not None else f"at least {_number(goal.at_least)}"
    return f"- {'met' if goal.met else '**missed**'}: {goal.what} {_number(goal.value)} (goal {bound})"


def _number(value: float | None) -> str:
    """With a thousands separator, or three digits after a point that starts a fraction."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
