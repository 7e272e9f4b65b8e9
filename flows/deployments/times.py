"""Checks a cron line, and says when it will run. The server's own code decides, so both agree also when clocks change.

In: a cron line and a time zone. Out: the next times.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

from prefect.server.schemas.schedules import CronSchedule
from pydantic import ValidationError

from pipeline.errors import ConfigError

_FIELDS = "minute, hour, day of the month, month, weekday, as in '30 4 * * *'"


def next_times(cron: str, zone: ZoneInfo, count: int = 3) -> list[datetime]:
    """The next times of a cron line.

    Raises:
        ConfigError: the line has not five fields, one of them is wrong, or its day never comes.
    """
    if (fields := len(cron.split())) != 5:
        raise ConfigError(f"{cron!r} has {fields} {'field' if fields == 1 else 'fields'}: give five, {_FIELDS}.")
    try:
        schedule = CronSchedule(cron=cron, timezone=zone.key)
        found = asyncio.run(schedule.get_dates(n=count))
    # Prefect's copy of croniter derives its errors from ValueError; one for a day that never comes is raised late.
    except (ValidationError, ValueError) as error:
        raise ConfigError(f"{cron!r} is not a schedule that ever runs: give {_FIELDS}.") from error
    return [time.astimezone(zone) for time in found]
