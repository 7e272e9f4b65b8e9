"""Nights when clocks change between winter and summer time: Prefect's dates, and the date that a night covers."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

pytest.importorskip("prefect")


@pytest.mark.parametrize("cron", ["30 4 * * *", "30 2 * * *", "0 0 * * *", "30 23 * * *"])
@pytest.mark.parametrize("change", [date(2026, 3, 29), date(2026, 10, 25)], ids=["forwards", "backwards"])
def test_each_day_has_one_night_when_clocks_change(cron: str, change: date, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.runtime import flow_run
    from prefect.server.schemas.schedules import CronSchedule

    from flows.scheduled.pages.naming import logical_date

    first = change - timedelta(days=2)
    schedule = CronSchedule(cron=cron, timezone="Europe/Berlin")
    start = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(hours=2)
    nights = []
    for scheduled in asyncio.run(schedule.get_dates(6, start=start)):
        monkeypatch.setitem(flow_run.FIELDS, "scheduled_start_time", lambda scheduled=scheduled: scheduled)
        nights.append(logical_date("Europe/Berlin"))
    assert len(nights) == 6
    assert nights == [nights[0] + timedelta(days=day) for day in range(6)]
    assert change in nights
