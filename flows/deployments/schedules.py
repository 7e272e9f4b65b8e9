"""Creates and updates the schedules of a deployment without undoing what an operator did to them.

In: the schedules on the server, the defaults, and those of the last deploy. An operator may pause, change, add and
delete schedules; the next deploy leaves all of that alone. Schedules are matched by slug.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule

from flows.deployments.merging import ABSENT, differences, merge
from flows.deployments.record import Deployed

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScheduleChanges:
    """What to do about schedules. `kept` names what an operator changed or deleted."""

    create: tuple[DeploymentScheduleCreate, ...]
    update: tuple[tuple[UUID, DeploymentScheduleCreate], ...]
    delete: tuple[UUID, ...]
    kept: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.create or self.update or self.delete)


def plain(schedule: DeploymentScheduleCreate | DeploymentSchedule) -> Plain:
    """A schedule as comparable values. Its time is one value: half of an operator's time makes no sense."""
    when = schedule.schedule.model_dump(mode="json")
    # The moment of the first deploy, not a setting.
    when.pop("anchor_date", None)
    return {
        "time": json.dumps(when, sort_keys=True),
        "active": schedule.active,
        "parameters": DeploymentScheduleCreate.model_dump(_copy(schedule), mode="json")["parameters"],
    }


def merged(
    held: Sequence[DeploymentSchedule],
    new: Sequence[DeploymentScheduleCreate],
    record: Deployed | None,
) -> ScheduleChanges:
    """How the schedules on the server become the new defaults with the operator's changes."""
    deployed: Mapping[str, Plain] = record.schedules if record else {}
    by_slug = {schedule.slug: schedule for schedule in held if schedule.slug}
    # Deployed by a version of hanclip that gave them no slugs: which one is which is unknown.
    unnamed = record is None and any(schedule.slug is None for schedule in held)
    create, update, kept = [], [], []
    for schedule in new:
        slug, found = str(schedule.slug), by_slug.get(str(schedule.slug))
        if found is not None:
            both = _merged(deployed.get(slug), found, schedule)
            kept += [f"schedule {slug}: {path}" for path in differences(plain(both), plain(schedule))]
            if plain(both) != plain(found):
                update.append((found.id, both))
        elif slug in deployed:
            kept.append(f"schedule {slug}: deleted")
        elif not unnamed:
            create.append(schedule)
    return ScheduleChanges(tuple(create), tuple(update), (), tuple(kept))


def replace(held: Sequence[DeploymentSchedule], new: Sequence[DeploymentScheduleCreate]) -> ScheduleChanges:
    """How the schedules on the server become exactly the defaults."""
    wanted = {schedule.slug: schedule for schedule in new}
    kept = [schedule for schedule in held if schedule.slug in wanted]
    update = [(one.id, wanted[one.slug]) for one in kept if plain(one) != plain(wanted[one.slug])]
    slugs = {schedule.slug for schedule in kept}
    create = tuple(schedule for schedule in new if schedule.slug not in slugs)
    return ScheduleChanges(create, tuple(update), tuple(one.id for one in held if one.slug not in wanted), ())


async def apply(client: PrefectClient, deployment_id: UUID, changes: ScheduleChanges) -> None:
    """Carry out the changes."""
    if changes.create:
        await client.create_deployment_schedules(deployment_id, list(changes.create))
    for schedule_id, wanted in changes.update:
        # All fields: Prefect 3.8 empties the parameters of a schedule whose update leaves them out.
        await client.update_deployment_schedule(
            deployment_id,
            schedule_id,
            active=wanted.active,
            schedule=wanted.schedule,
            parameters=wanted.parameters,
            slug=wanted.slug,
        )
    for schedule_id in changes.delete:
        await client.delete_deployment_schedule(deployment_id, schedule_id)


def _merged(
    deployed: Plain | None, held: DeploymentSchedule, new: DeploymentScheduleCreate
) -> DeploymentScheduleCreate:
    values, defaults = plain(held), plain(new)
    # Emptied by Prefect when an operator paused or resumed the schedule, see `apply`.
    if deployed and not values["parameters"]:
        values["parameters"] = deployed["parameters"]
    merged = merge(deployed or ABSENT, values, defaults)
    time = new.schedule if merged["time"] == defaults["time"] else held.schedule
    return DeploymentScheduleCreate(
        schedule=time, active=merged["active"], parameters=merged["parameters"], slug=new.slug
    )


def _copy(schedule: DeploymentScheduleCreate | DeploymentSchedule) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=schedule.schedule, parameters=schedule.parameters)
