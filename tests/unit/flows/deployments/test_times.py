from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from flows.deployments.times import next_times
from pipeline.errors import ConfigError


def test_the_next_three_times_are_in_the_time_zone() -> None:
    found = next_times("30 4 * * *", ZoneInfo("Asia/Shanghai"))
    assert [(time.hour, time.minute, time.utcoffset()) for time in found] == [(4, 30, timedelta(hours=8))] * 3
    assert (found[2].date() - found[0].date()).days == 2


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("*/10 * * * * *", "has 6 fields: give five"),
        ("@daily", "has 1 field: give five"),
        ("", "has 0 fields"),
        ("61 * * * *", "not a schedule that ever runs"),
        ("30 4 * * someday", "not a schedule that ever runs"),
        ("0 0 31 2 *", "not a schedule that ever runs"),
    ],
)
def test_a_line_that_cron_would_not_take_is_refused(cron: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        next_times(cron, ZoneInfo("UTC"))
