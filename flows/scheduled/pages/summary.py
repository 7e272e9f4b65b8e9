"""The summary of a flow run as an artifact: the first thing that an on-call person reads.

In: a `FlowRunSummary`. Out: the artifact `<flow>-summary`, one per flow run, written when the run starts and at every
change, so that a killed run has one as well. Whoever finds the run dead (a hook, the flow `reap`) reads the summary
back from the artifact's metadata and completes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import TypeAdapter, ValidationError

from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.scheduled.pages.artifacts import best_effort
from flows.scheduled.pages.markup import fact_table, link
from flows.terminal.marked import Code, Facts, Marked

_EVERY_S = 5.0
#: The server cuts longer values of metadata.
_MOST_CHARACTERS = 490


class SummaryPage:
    """The summary of one flow run. Errors of the server are logged: a page is worth no failed run."""

    def __init__(self, flow: str, flow_run_id: UUID) -> None:
        self._flow, self._flow_run_id = flow, flow_run_id
        self._id: UUID | None = None
        self._shown_s = -_EVERY_S
        self._restarts: tuple[str, ...] = ()
        #: What the artifact shows; None if there is none yet.
        self.held: FlowRunSummary | None = None
        with best_effort(), get_client(sync_client=True) as client:
            self._find(client)
            self._restarts = restarts(client.read_flow_run_states(flow_run_id))

    @classmethod
    def here(cls) -> SummaryPage:
        """That of the current flow run."""
        return cls(str(flow_run.flow_name), UUID(str(flow_run.id)))

    def update(self, summary: FlowRunSummary) -> None:
        """Show `summary`, unless the page was just updated."""
        if time.monotonic() - self._shown_s >= _EVERY_S:
            self.show(summary)

    def show(self, summary: FlowRunSummary, extra: Facts | None = None) -> None:
        """Show `summary`, with `extra` facts."""
        self._shown_s = time.monotonic()
        with best_effort(), get_client(sync_client=True) as client:
            content = ArtifactUpdate(
                data=render(summary, self._restarts, extra),
                description=summary.headline,
                metadata_={name: str(value)[:_MOST_CHARACTERS] for name, value in asdict(summary).items() if value},
            )
            if self._id is None:
                self._create(client, content)
            else:
                client.update_artifact(self._id, content)
            self.held = summary

    def _create(self, client: SyncPrefectClient, content: ArtifactUpdate) -> None:
        made = ArtifactCreate(
            key=f"{self._flow}-summary", type="markdown", flow_run_id=self._flow_run_id, **content.model_dump()
        )
        self._id = client.create_artifact(made).id

    def _find(self, client: SyncPrefectClient) -> None:
        mine = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[self._flow_run_id]),
            key=ArtifactFilterKey(any_=[f"{self._flow}-summary"]),
        )
        for artifact in client.read_artifacts(artifact_filter=mine, limit=1):
            self._id, self.held = artifact.id, _read(artifact.metadata_)


def restarts(states: Iterable[State]) -> tuple[str, ...]:
    """When and why a flow run was started again, from its states: by `reap`, or by a person."""
    again = sorted((one for one in states if one.name == "AwaitingRetry"), key=lambda one: one.timestamp)
    return tuple(f"{one.timestamp:%Y-%m-%d %H:%M} UTC: {one.message or 'no reason given'}" for one in again)


def _read(metadata: object) -> FlowRunSummary | None:
    try:
        return TypeAdapter(FlowRunSummary).validate_python(metadata)
    except ValidationError:
        return None


def render(summary: FlowRunSummary, started_again: Sequence[str], extra: Facts | None = None) -> str:
    """The page in markdown: state, data, reason and next step as sentences, everything else as a table."""
    parts = [f"# {summary.outcome.capitalize()}"]
    parts += [f"**{name}:** {text}" for name, text in _sentences(summary)]
    # No cells: Prefect's tables do not wrap, and cut long ones.
    parts += [f"**Started again:** {_sentence(restart)}" for restart in started_again]
    parts.append(fact_table([*_facts(summary), *(extra or ())]))
    return "\n\n".join(parts) + "\n"


def plain(summary: FlowRunSummary) -> str:
    """The sentences of the page for a log."""
    return "\n".join([f"{summary.outcome.capitalize()}.", *(f"{name}: {text}" for name, text in _sentences(summary))])


def _sentences(summary: FlowRunSummary) -> Iterator[tuple[str, str]]:
    for name, text in (
        ("Data", summary.data),
        ("Result", summary.details),
        ("Why", summary.reason),
        ("Next", summary.next_step),
    ):
        if text:
            yield name, _sentence(text)


def _facts(summary: FlowRunSummary) -> Iterator[tuple[str, str | Marked]]:
    progress = "progress" if summary.outcome is FlowOutcome.RUNNING else "last progress"
    for name, text in (("rows in", summary.rows), (progress, summary.progress)):
        if text:
            yield name, text
    for name, address in (("source", summary.source), ("dataset", summary.out)):
        if address:
            yield name, Marked(Code(address))
    if summary.job_id:
        yield "job", link(summary.job_id, summary.job_url)
    yield "log", Marked("tab *Logs* of the flow run", *([", or ", Code(summary.job_log)] if summary.job_log else []))
    if summary.report_url:
        yield "report", link("every run and step in detail", summary.report_url)


def _sentence(text: str) -> str:
    """With a capital letter and a full stop; line ends would end the paragraph."""
    flat = " ".join(text.split())
    word = flat.partition(" ")[0].rstrip(",:;")
    begun = flat[:1].upper() + flat[1:] if word.isalpha() else flat  # not the beginning of an address
    return begun + ("" if flat.endswith((".", "?", "`")) else ".")
