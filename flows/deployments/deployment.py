"""A deployment that keeps what an operator changed on the server, and touches nothing if nothing is new.

In: a flow and its defaults. Out: the deployment on the server. Prefect's own deploy replaces parameters and schedules,
which switches a resumed schedule off; and every update deletes the runs that are due next, which the server's scheduler
makes anew only up to a minute later, so an update right before a run is due would skip the run.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import typer
from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions, VersionInfo
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from pydantic import PrivateAttr

from flows.deployments import record, schedules
from flows.deployments.merging import ABSENT, differences, merge
from flows.deployments.record import Deployed

#: What an operator can change on the server. Everything else belongs to the code and is replaced.
_KEPT = ("parameters", "tags", "description", "paused", "job_variables", "concurrency_limit", "concurrency_options")


class KeepingDeployment(RunnerDeployment):
    """A deployment of Prefect whose `aapply` merges instead of replacing. Its schedules need slugs."""

    _reset_values: bool = PrivateAttr(default=False)
    _reset_schedules: bool = PrivateAttr(default=False)

    @classmethod
    def of(cls, flow: Flow[..., Any], name: str, **settings: Any) -> KeepingDeployment:
        """The deployment of an importable flow, with the settings of Prefect's `from_flow`."""
        found = cls.from_flow(flow, name, entrypoint_type=EntrypointType.MODULE_PATH, **settings)
        return cast(KeepingDeployment, found)

    def reset(self, values: bool, schedules: bool) -> None:
        """Let the next `aapply` drop an operator's changes to its values or to its schedules."""
        self._reset_values, self._reset_schedules = values, schedules

    async def aapply(self, *args: Any, **options: Any) -> UUID:
        """Create or update the deployment on the server of this environment.

        Raises:
            DeploymentApplyError, PrefectHTTPStatusError: the server refuses it, as when it lacks the work pool, or when
                parameters that were changed on the server do not fit the flow any more.
        """
        times = {str(one.slug): schedules.plain(one) for one in self._new_schedules()}
        defaults = Deployed(values=self._values(), schedules=times)
        # Otherwise Prefect replaces the version by the commit of the Git clone or CI job that deploys, so that the
        # next deploy finds a difference even if nothing is new.
        options.setdefault("version_info", VersionInfo(type="prefect:simple", version=self.version or ""))
        async with get_client() as client:
            try:
                held = await client.read_deployment_by_name(self.full_name)
            except ObjectNotFound:
                deployment_id = await super().aapply(*args, **options)
                typer.echo(f"{self.full_name}: created")
            else:
                deployment_id = await self._update_held(client, held, *args, **options)
            if await record.read(client, self.full_name) != defaults:
                # Last: a deploy that fails halfway would otherwise take old defaults for an operator's changes.
                await record.write(client, self.full_name, defaults)
        return deployment_id

    async def _update_held(self, client: PrefectClient, held: DeploymentResponse, *args: Any, **options: Any) -> UUID:
        deployed = await record.read(client, self.full_name)
        kept: list[str] = []
        if not self._reset_values:
            merged = merge(deployed.values if deployed else ABSENT, _held_values(held), self._values())
            kept = list(differences(merged, self._values()))
            self._take(merged)
        changes = (
            schedules.replace(held.schedules, self._new_schedules())
            if self._reset_schedules
            else schedules.merged(held.schedules, self._new_schedules(), deployed)
        )
        differs = self._differs(held)
        if differs:
            await super(KeepingDeployment, self._without_schedules()).aapply(*args, **options)
        await schedules.apply(client, held.id, changes)
        typer.echo(f"{self.full_name}: {'updated' if differs or changes.needed else 'unchanged'}")
        for path in (*kept, *changes.kept):
            typer.echo(f"  kept as changed on the server: {path}")
        return held.id

    def _without_schedules(self) -> KeepingDeployment:
        """A copy for an update: Prefect sends the schedules if there are any, and the server replaces its own."""
        copy = self.model_copy(update={"schedules": None})
        # Fields that are set are sent, null too.
        copy.model_fields_set.discard("schedules")
        return copy

    def _values(self) -> dict[str, Any]:
        dumped = self.model_dump(mode="json", include=set(_KEPT))
        return dumped | {"concurrency_options": _options(dumped["concurrency_options"])}

    def _new_schedules(self) -> list[DeploymentScheduleCreate]:
        return [one for one in self.schedules or [] if isinstance(one, DeploymentScheduleCreate)]

    def _take(self, values: dict[str, Any]) -> None:
        for name in _KEPT:
            setattr(self, name, values.get(name))

    def _differs(self, held: DeploymentResponse) -> bool:
        """Whether the server's deployment has other values, or runs other code."""
        schema = self._parameter_openapi_schema.model_dump(mode="json", exclude_unset=True)
        code = (self.entrypoint, self.version, self.work_pool_name, self.enforce_parameter_schema, schema)
        theirs = (
            held.entrypoint, held.version, held.work_pool_name, held.enforce_parameter_schema,
            held.parameter_openapi_schema,
        )  # fmt: skip
        return code != theirs or _held_values(held) != self._values()


def _held_values(held: DeploymentResponse) -> dict[str, Any]:
    limit = held.global_concurrency_limit
    dumped = held.model_dump(mode="json", include=set(_KEPT) - {"concurrency_limit"})
    return dumped | {
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": _options(dumped["concurrency_options"]),
    }


def _options(dumped: dict[str, Any] | None) -> dict[str, Any] | None:
    """Options with every default, so that an omitted one compares as equal."""
    return ConcurrencyOptions.model_validate(dumped).model_dump(mode="json") if dumped else None
