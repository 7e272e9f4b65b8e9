"""What a flow run came to, as one value: its page in Prefect and the message of its state are both rendered from it.

An on-call person needs four things within seconds: the state in a word, whether the data is complete, why, and what to
do next.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum


class FlowOutcome(StrEnum):
    """The state of a flow run in a word or three."""

    RUNNING = "running"
    COMPLETE = "complete"
    NOTHING_TO_DO = "nothing to do"
    DRY_RUN = "dry run"
    QUARANTINE = "too much in quarantine"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    CRASHED = "crashed"

    @property
    def succeeded(self) -> bool:
        """Whether the flow run is Completed."""
        return self in (FlowOutcome.COMPLETE, FlowOutcome.NOTHING_TO_DO, FlowOutcome.DRY_RUN)


#: How a state's message starts. Automations match the message of too much quarantine by it.
LEADS = {
    FlowOutcome.NOTHING_TO_DO: "Nothing to do",
    FlowOutcome.DRY_RUN: "Dry run, nothing was started",
    FlowOutcome.QUARANTINE: "Too much in quarantine",
    FlowOutcome.STOPPED: "The job was stopped",
}


@dataclass(frozen=True, slots=True)
class FlowRunSummary:
    """A flow run as its page shows it; all texts are plain, except that `next_step` may hold commands in backticks.

    Attributes:
        flow: name of the flow.
        outcome: its state.
        data: whether the data is complete; starts with complete, incomplete, unchanged or unknown.
        rows: `10 = 8 embedded + 2 quarantined`; empty if rows are not known.
        reason: why it is in this state; empty if that needs no words.
        details: what else there is to count, such as a step's result.
        next_step: what to do now.
        progress: how far a running job is.
        source: what is read.
        out: the dataset.
        job_id: the last job; empty before there is one.
        job_url: its page.
        job_log: the command that shows its log.
        report_url: the report, with each run and step.
    """

    flow: str
    outcome: FlowOutcome
    data: str = ""
    rows: str = ""
    reason: str = ""
    details: str = ""
    next_step: str = ""
    progress: str = ""
    source: str = ""
    out: str = ""
    job_id: str = ""
    job_url: str = ""
    job_log: str = ""
    report_url: str = ""

    @property
    def message(self) -> str:
        """The message of the flow run's state, in one line."""
        texts = (f"rows in {self.rows}" if self.rows else "", self.details, self.reason)
        body = "; ".join(text.rstrip(".") for text in texts if text)
        return ": ".join(filter(None, (LEADS.get(self.outcome, ""), body))) or self.outcome.capitalize()

    @property
    def status_command(self) -> str:
        """The shell command that shows what the dataset has."""
        return shlex.join(["hanclip", "status", self.out])

    @property
    def headline(self) -> str:
        """State and data in so few words that a card in Prefect shows all of them."""
        word = self.data.partition(":")[0].partition(",")[0]
        return f"{self.outcome.capitalize()}; data {word}" if word else self.outcome.capitalize()
