"""What the dashboard and the alert rules ask Prometheus for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

INFRA = Path(__file__).parents[1] / "infra"
_METRIC = re.compile(r"\bray_[a-z0-9_]+")


def dashboard() -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((INFRA / "grafana" / "hanclip.json").read_text())
    return tree


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((INFRA / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    """Every PromQL expression; Grafana's variables replaced by values."""
    of_panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    of_variables = [variable["definition"] for variable in dashboard()["templating"]["list"]]
    return [
        text.replace("$__rate_interval", "1m").replace("$run", ".*")
        for text in [*of_panels, *of_variables, *(rule["expr"] for rule in rules())]
    ]


def metrics_asked_for() -> set[str]:
    """Names, as Prometheus knows them."""
    return {name for query in queries() for name in _METRIC.findall(query)}
