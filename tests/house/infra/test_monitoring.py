"""Test that dashboard and alert rules are valid. `tests.ray.test_metrics` tests that their metrics exist."""

from __future__ import annotations

import shutil
import subprocess
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.fixtures.infra import INFRA
from tests.fixtures.monitoring import dashboard, queries, rules
from tests.fixtures.places import ROOT


def test_every_query_is_valid_promql() -> None:
    parser = pytest.importorskip("promql_parser", reason="needs promql-parser")
    for query in queries():
        if not query.startswith("label_values("):  # A Grafana function, not PromQL.
            parser.parse(query)


def test_panels_have_unique_ids_units_a_source_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    provisioned = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    (source,) = provisioned["datasources"]
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == source["uid"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert not [(a["title"], b["title"]) for a, b in combinations(panels, 2) if _overlap(a["gridPos"], b["gridPos"])]


def test_every_alert_has_a_summary_and_an_action() -> None:
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "action"}


def test_alert_rules_fire_on_the_right_series() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool, from Debian's package prometheus")
    done = subprocess.run(
        [program, "test", "rules", INFRA / "prometheus/alerts_test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_in_the_runbook() -> None:
    runbook = (ROOT / "docs/operations.md").read_text()
    assert not [rule["alert"] for rule in rules() if f"| `{rule['alert']}` |" not in runbook]


def test_prometheus_scrapes_the_services_that_compose_starts() -> None:
    scraped = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    services = yaml.safe_load((INFRA / "compose/compose.yaml").read_text())["services"]
    names = [name for dns in job["dns_sd_configs"] for name in dns["names"]]
    ports = {str(dns["port"]) for dns in job["dns_sd_configs"]}
    assert set(names) == {name for name in services if name.startswith("ray-")}
    for name in names:
        exported = [word.partition("=")[2] for word in services[name]["command"] if "metrics-export-port" in word]
        assert set(exported) == ports
    assert scraped["rule_files"] == ["alerts.yml"]


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    apart = (
        a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    )
    return not apart
