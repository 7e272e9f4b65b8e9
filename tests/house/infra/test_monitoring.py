"""Test dashboard, alert rules and automations. `tests.ray.test_metrics` tests that the metrics of runs exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

import pytest
import yaml
from prefect.events.schemas.automations import EventTrigger

from flows.deployments.alerts import VARIABLE, AlertRule, read_alerts
from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.scheduled.pages.stall import EVENT
from pipeline.serving.border.metrics import ServeMetrics
from tests.fixtures.infra import INFRA
from tests.fixtures.monitoring import dashboard, queried_serve_metrics, queries, rules
from tests.fixtures.places import ROOT


def flow_alerts() -> tuple[AlertRule, ...]:
    return read_alerts(INFRA / "prefect/automations/alerts.yaml").alerts


def test_every_query_is_valid_promql() -> None:
    parser = pytest.importorskip("promql_parser", reason="needs promql-parser")
    for query in queries():
        if not query.startswith("label_values("):  # A Grafana function, not PromQL.
            parser.parse(query)


def test_the_api_exports_the_queried_metrics() -> None:
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    exported = {
        f"hanclip_serve_{family.name}{part}"
        for family in ServeMetrics().families()
        for part in parts.get(family.kind, ("",))
    }
    assert queried_serve_metrics()
    assert queried_serve_metrics() <= exported


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
    assert [alert.name for alert in flow_alerts()] == re.findall(r"^\| `(hanclip-[a-z-]+)` \|", runbook, re.MULTILINE)


def test_automations_select_what_flows_send() -> None:
    triggers = {alert.name: alert.trigger for alert in flow_alerts()}
    assert triggers["hanclip-run-stalled"].expect == {EVENT}
    quarantine = FlowRunSummary("nightly", FlowOutcome.QUARANTINE, rows="1 = 1 quarantined").message
    failure = FlowRunSummary("nightly", FlowOutcome.FAILED, reason="The store is down.").message
    for message, name in ((quarantine, "hanclip-quarantine-high"), (failure, "hanclip-run-failed")):
        selecting = {name for name, trigger in triggers.items() if _selects(trigger, message)}
        assert selecting == {name, "hanclip-reap-failed"}


def test_compose_and_kubernetes_pass_the_webhook_to_the_deploy() -> None:
    services = yaml.safe_load((INFRA / "compose/compose.yaml").read_text())["services"]
    assert services["deploy"]["environment"][VARIABLE] == "${ALERT_WEBHOOK_URL:-}"
    secrets = yaml.safe_load_all((INFRA / "kuberay/secrets.example.yaml").read_text())
    assert [one["metadata"]["name"] for one in secrets if VARIABLE in one["stringData"]] == ["hanclip-prefect"]


def _selects(trigger: EventTrigger, message: str) -> bool:
    """Whether a reactive trigger selects a failure with this message; the flow is not considered."""
    pattern = str(trigger.match.root.get("prefect.state-message", "*"))
    found = fnmatchcase(message, pattern.removeprefix("!")) != pattern.startswith("!")
    return trigger.posture == "Reactive" and "prefect.flow-run.Failed" in trigger.expect and found


def test_prometheus_scrapes_the_services_that_compose_starts() -> None:
    scraped = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text())
    ray, api = scraped["scrape_configs"]
    services = yaml.safe_load((INFRA / "compose/compose.yaml").read_text())["services"]
    names = [name for dns in ray["dns_sd_configs"] for name in dns["names"]]
    ports = {str(dns["port"]) for dns in ray["dns_sd_configs"]}
    assert set(names) == {name for name in services if name.startswith("ray-")}
    for name in names:
        exported = [word.partition("=")[2] for word in services[name]["command"] if "metrics-export-port" in word]
        assert set(exported) == ports
    (served,) = api["dns_sd_configs"]
    assert served["names"] == ["serve"]
    assert services["serve"]["ports"] == [f"127.0.0.1:{served['port']}:{served['port']}"]
    (key,) = services["prometheus"]["configs"]
    assert api["authorization"] == {"credentials_file": key["target"]}
    assert scraped["rule_files"] == ["alerts.yml"]


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    apart = (
        a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    )
    return not apart
