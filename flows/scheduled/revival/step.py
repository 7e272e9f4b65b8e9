"""The first step of the flow `reap`: one look at all flow runs, its log, its table and a sentence for the state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run

from flows.scheduled.revival.judge import Action
from flows.scheduled.revival.policy import RevivalPolicy
from flows.scheduled.revival.watch import Finding, Watch
from pipeline import units
from pipeline.errors import RunError

_DONE = {
    Action.CRASH: "set Crashed",
    Action.REVIVE: "started again",
    Action.FAIL: "set Failed",
    Action.CANCEL: "set Cancelled",
}


@dataclass(frozen=True, slots=True)
class ReapStep:
    """What a step of `reap` did, and what it could not do; empty if nothing."""

    done: str
    problem: str


def revive(policy: RevivalPolicy, dry_run: bool) -> ReapStep:
    """Start dead flow runs again, or end them; in a dry run only show them."""
    problem, findings = "", list[Finding]()
    with get_client(sync_client=True) as client:
        try:
            for finding in Watch(client, _this_run(client), policy).run(dry_run):
                findings.append(finding)
                get_run_logger().info("%s: %s. %s", finding.name, _outcome(finding, dry_run), finding.decision.reason)
        except RunError as error:
            problem = str(error)
    if findings:
        table = [_row(finding, dry_run) for finding in findings]
        create_table_artifact(table, key="reap-runs", description=f"Flow runs whose process was gone: {len(table)}")
    errors = [finding.error for finding in findings if finding.error]
    if errors:
        problem = f"{units.count(len(errors), 'flow run')} could not be changed: {errors[0]} {problem}".rstrip()
    return ReapStep(_sentence(findings, dry_run), problem)


def _this_run(client: SyncPrefectClient) -> FlowRun | None:
    return client.read_flow_run(UUID(flow_run.id)) if flow_run.id else None


def _outcome(finding: Finding, dry_run: bool) -> str:
    if finding.error:
        return f"not changed: {finding.error}"
    if dry_run:
        return f"would be {_DONE[finding.decision.action]}"
    return _DONE[finding.decision.action] if finding.done else "left alone, it changed meanwhile"


def _row(finding: Finding, dry_run: bool) -> dict[str, str]:
    return {
        "flow run": finding.name,
        "id": str(finding.flow_run_id),
        "what": _outcome(finding, dry_run),
        "why": finding.decision.reason,
    }


def _sentence(findings: list[Finding], dry_run: bool) -> str:
    """`flow runs: 2 started again, 1 set Cancelled`; empty if there was nothing to do."""
    counted = Counter(_outcome(finding, dry_run) for finding in findings if not finding.error)
    shares = ", ".join(f"{number} {what}" for what, number in sorted(counted.items()))
    return f"flow runs: {shares}" if shares else ""
