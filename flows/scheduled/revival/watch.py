"""Looks at all flow runs of hanclip that are not over, and at recent crashes; ends and revives what is dead.

In: a client of the Prefect server, the watching flow run, the policy. Out: a `Finding` per flow run that needed
something. A silent run is watched for longer than a heartbeat before it is ended, so that a server, network or laptop
that just came back costs nothing. The watching run is never judged by itself but by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from uuid import UUID

from httpx import HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Crashed, Failed

from flows.deployments.paging import all_pages
from flows.scheduled.outcome import show_end
from flows.scheduled.revival.history import revival_message
from flows.scheduled.revival.judge import Action, Decision, Seen, judge
from flows.scheduled.revival.page import show_revivals
from flows.scheduled.revival.policy import RevivalPolicy
from flows.scheduled.revival.signs import require_stored_events, see, server_time
from flows.scheduled.revival.transition import move

#: The tag of every deployment of hanclip.
TAG = "hanclip"
_UNFINISHED = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_LOOK_EVERY_S = 5.0
#: Workers fetch runs up to ten seconds before they are due; until then a state that slipped in can be restored.
_START_IN = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found and done about a flow run.

    Attributes:
        flow_run_id: the flow run.
        name: its name.
        decision: the last thing that was decided.
        done: whether it was carried out; False in a dry run, or when the flow run changed meanwhile.
        error: why the server could not carry it out; empty if it could.
    """

    flow_run_id: UUID
    name: str
    decision: Decision
    done: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
    """A flow run, its state, what is known of it, and the decision."""

    flow_run: FlowRun
    state: State
    seen: Seen
    decision: Decision

    @property
    def silent(self) -> bool:
        """Whether the decision rests on missing signs of life."""
        return self.seen.state in (StateType.RUNNING, StateType.CANCELLING) and self.decision.action is not Action.LEAVE


class Watch:
    """One look at the server."""

    def __init__(self, client: SyncPrefectClient, watcher: FlowRun | None, policy: RevivalPolicy) -> None:
        """`watcher`: the flow run that looks; None outside of a flow run."""
        self._client, self._watcher, self._policy = client, watcher, policy

    def run(self, dry_run: bool = False) -> Iterator[Finding]:
        """End and revive what is dead, or only yield what would be done.

        Raises:
            RunError: the server stores no events; raised after everything that needs no events was done.
        """
        cases = [case for case in map(self._judged, self._flow_runs()) if case.decision.action is not Action.LEAVE]
        silent = [case for case in cases if case.silent]
        for case in cases:
            if dry_run:
                yield _finding(case, done=False)
            elif not case.silent:
                yield self._carry_out(case)
        if silent and not dry_run:
            yield from map(self._carry_out, self._listen(silent))

    def _flow_runs(self) -> Iterator[FlowRun]:
        recent = server_time(self._client) - timedelta(seconds=self._policy.window_s)
        tags = FlowRunFilterTags(all_=[TAG])
        crashed = _of_type(StateType.CRASHED)
        ended = FlowRunFilterEndTime(after_=recent)  # type: ignore[arg-type]  # Prefect's own subclass
        for wanted in (
            FlowRunFilter(tags=tags, state=_of_type(*_UNFINISHED)),
            FlowRunFilter(tags=tags, state=crashed, end_time=ended),
        ):
            yield from (run for run in self._found(wanted) if self._watcher is None or run.id != self._watcher.id)

    def _found(self, wanted: FlowRunFilter) -> list[FlowRun]:
        # Read as a whole before a run is moved out of the filter.
        read = partial(self._client.read_flow_runs, flow_run_filter=wanted, sort=FlowRunSort.ID_DESC)
        return all_pages(lambda first: read(offset=first))

    def _judged(self, flow_run: FlowRun) -> _Case:
        assert flow_run.state
        now = server_time(self._client)
        seen = see(self._client, flow_run, flow_run.state, now, self._policy)
        # The next scheduled run of the watching flow does the same.
        again = self._watcher is None or flow_run.flow_id != self._watcher.flow_id
        seen = replace(seen, restartable=seen.restartable and again)
        return _Case(flow_run, flow_run.state, seen, judge(seen, now, self._policy))

    def _listen(self, cases: list[_Case]) -> list[_Case]:
        """Those that show no sign of life while they are watched for longer than a heartbeat takes."""
        require_stored_events(self._client)
        end_s = time.monotonic() + max(_listen_s(case, self._policy) for case in cases)
        while cases and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(_LOOK_EVERY_S, left_s))
            cases = list(self._still_silent(cases))
        require_stored_events(self._client)
        return list(self._still_silent(cases))

    def _still_silent(self, cases: Iterable[_Case]) -> Iterator[_Case]:
        for before in cases:
            after = self._judged(self._client.read_flow_run(before.flow_run.id))
            if after.silent and after.state.id == before.state.id and after.seen.signs == before.seen.signs:
                yield after

    def _carry_out(self, case: _Case) -> Finding:
        """Do what was decided; a run that is crashed here is judged again at once."""
        finding = _finding(case, done=False)
        try:
            while case.decision.action is not Action.LEAVE:
                finding = _finding(case, move(self._client, case.flow_run.id, case.state, self._state(case)))
                if not finding.done:
                    break
                if case.decision.action in (Action.REVIVE, Action.FAIL):
                    show_revivals(self._client, case.flow_run)
                if case.decision.action is not Action.REVIVE:  # a revived run shows that itself
                    show_end(self._client.read_flow(case.flow_run.flow_id).name, case.flow_run, self._state(case))
                case = self._judged(self._client.read_flow_run(case.flow_run.id))
        except (HTTPStatusError, ObjectNotFound) as error:
            # The other flow runs must not wait for this one.
            return replace(finding, done=False, error=str(error))
        return finding

    def _state(self, case: _Case) -> State:
        reason = case.decision.reason
        match case.decision.action:
            case Action.CRASH:
                return Crashed(message=reason)
            case Action.CANCEL:
                return Cancelled(message=reason)
            case Action.FAIL:
                return Failed(message=reason)
        message = revival_message(case.seen.revivals + 1, self._policy.most, reason)
        return AwaitingRetry(scheduled_time=server_time(self._client) + _START_IN, message=message)


def _listen_s(case: _Case, policy: RevivalPolicy) -> float:
    return max(policy.listen_s, 1.5 * min(case.seen.signs.interval_s or 0.0, 5 * policy.heartbeat_s))


def _of_type(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))


def _finding(case: _Case, done: bool) -> Finding:
    return Finding(case.flow_run.id, case.flow_run.name, case.decision, done)
