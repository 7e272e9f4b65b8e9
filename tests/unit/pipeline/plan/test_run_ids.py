"""Run ids keep the order of the plans when clocks jump, since that order decides which rows are current."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from pipeline.plan import run_ids
from pipeline.plan.run_ids import id_after, new_run_id
from tests.fixtures.catalogs import Catalog, skus
from tests.fixtures.datasets import carry_out


class Clock(datetime):
    """A clock that is wrong by some hours."""

    wrong = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(UTC) + cls.wrong


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(run_ids, "datetime", Clock)
    monkeypatch.setattr(Clock, "wrong", timedelta())
    return Clock


@pytest.mark.parametrize("hours", [6, -6, 24 * 400])
def test_a_run_after_a_jump_of_the_clock_is_later_than_the_runs_before_it(
    hours: int, tmp_path: Path, clock: type[Clock], caplog: pytest.LogCaptureFixture
) -> None:
    catalog = Catalog(tmp_path)
    planned = []
    for number, wrong in enumerate((0, hours, 0, 0)):
        clock.wrong = timedelta(hours=wrong)
        catalog.write("part-0", skus(300 * (number + 1)))
        plan = catalog.plan()
        carry_out(plan)
        planned.append(plan.run_id)
    assert planned == sorted(planned)
    assert len(set(planned)) == 4
    assert "Check the clocks" in caplog.text


def test_a_later_id_is_kept() -> None:
    earlier, later = "20261129T235959.999Z-aaaaaa", "20261130T000000.000Z-000000"
    assert id_after(later, earlier) == later
    assert id_after(earlier, later) == "20261130T000000.001Z-aaaaaa"
    assert id_after("by-hand", later) == "by-hand"
    assert id_after(new_run_id(), "a-name-of-another-kind").startswith("20")
