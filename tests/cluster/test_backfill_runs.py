"""`hanclip backfill` over six days of tars, as jobs on a Ray cluster and in the command's own process."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.driving import Drivers, assert_adds_up, rows_visible
from tests.fixtures.hidden import without
from tests.fixtures.pictures import jpegs, write_tar
from tests.fixtures.servers.ray_head import RayHead

EACH = 40
DAYS = [f"2026-11-{day:02d}" for day in range(1, 7)]
BROKEN, EMPTY = DAYS[1], DAYS[2]
TEMPLATE = "dt={date}/*.tar"
ONE_ACTOR_EACH = ("--model", "demo", "--decoders", "1", "--embedders", "1")


def write_day(place: Path, day: str, pictures: list[bytes]) -> None:
    folder = place / f"dt={day}"
    folder.mkdir(exist_ok=True)
    write_tar(folder / "0.tar", pictures, DAYS.index(day) * EACH)


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, list[bytes]]:
    """The pictures of each day. The tar of one day is broken at first, and one day has none."""
    all_pictures = list(jpegs(len(DAYS) * EACH))
    days = {day: all_pictures[at * EACH : (at + 1) * EACH] for at, day in enumerate(DAYS) if day != EMPTY}
    for day, pictures in days.items():
        write_day(tmp_path, day, pictures)
    (tmp_path / f"dt={EMPTY}").mkdir()
    (tmp_path / f"dt={BROKEN}" / "0.tar").write_bytes(b"not a tar")
    return days


def statuses(ended: dict[str, Any]) -> dict[str, str]:
    return {row["key"]: row["status"] for row in ended["partitions"]}


def expected(broken: str) -> dict[str, str]:
    return {day: {BROKEN: broken, EMPTY: "empty"}.get(day, "done") for day in DAYS}


def our_jobs(head: RayHead, out: Path) -> list[dict[str, Any]]:
    jobs = head.request("GET", "/api/jobs/")
    return [job for job in jobs if (job.get("metadata") or {}).get("out") == str(out)]


def max_concurrent(jobs: list[dict[str, Any]]) -> int:
    spans = [(job["start_time"], job["end_time"]) for job in jobs]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


@pytest.mark.slow
def test_six_days_on_a_cluster(
    tmp_path: Path, ray_head: RayHead, pictures: dict[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One day fails at first, one is empty and one is left for later; a second call does only what is missing."""
    where = ("--jobs-address", ray_head.dashboard, "--python", sys.executable, "--poll-s", "1")
    command = ("backfill", TEMPLATE, "out", "--start", DAYS[0], "--end", DAYS[-1], *ONE_ACTOR_EACH, *where)
    out = tmp_path / "out"
    for name, value in ray_head.client_env.items():
        monkeypatch.setenv(name, value)
    with Drivers(tmp_path, address=ray_head.address) as drivers:
        first = drivers.run(*command, "--max-partitions", "5", "--group", "3", "--max-active", "2", code=1)
        assert statuses(first) == {**expected(broken="failed"), DAYS[-1]: "later"}
        rows = {row["key"]: row for row in first["partitions"]}
        assert "cannot be read as a tar" in rows[BROKEN]["message"]
        assert {row["rows"] for day, row in rows.items() if day not in (BROKEN, EMPTY, DAYS[-1])} == {EACH}
        assert {row["why"] for row in first["partitions"]} == {"never run"}
        assert rows_visible(out) == 3 * EACH
        jobs = our_jobs(ray_head, out)
        assert len(jobs) == 2
        assert max_concurrent(jobs) == 2

        write_day(tmp_path, BROKEN, pictures[BROKEN])
        second = drivers.run(*command, "--group", "2")
        assert statuses(second) == expected(broken="done")
        due = [(row["key"], row["why"]) for row in second["partitions"] if row["why"]]
        assert due == [(BROKEN, "failed"), (DAYS[-1], "never run")]
        (last,) = [
            job for job in our_jobs(ray_head, out) if job["submission_id"] not in {j["submission_id"] for j in jobs}
        ]
        assert last["metadata"]["keys"] == f"{BROKEN},{DAYS[-1]}"

        assert drivers.run(*command)["tally"] == {"done": 5, "empty": 1}
        assert len(our_jobs(ray_head, out)) == 3
        assert rows_visible(out) == 5 * EACH
        assert {path.name for path in (out / "embeddings").iterdir()} == {
            f"run_date={day}" for day in DAYS if day != EMPTY
        }
        assert_adds_up(drivers, "out", 5 * EACH)


@pytest.mark.slow
def test_days_in_this_process_stopped_and_resumed(
    tmp_path: Path, local_ray_address: str, pictures: dict[str, list[bytes]]
) -> None:
    days, where = DAYS[2:], ("--address", local_ray_address)
    command = ("backfill", TEMPLATE, "out", "--start", days[0], "--end", days[-1], *ONE_ACTOR_EACH, *where)
    # The extra embed is enough: neither HTTP clients nor Prefect.
    only_embed = without(["httpx", "prefect", "fastapi", "sqlalchemy", "faiss", "lmdb"])
    with Drivers(tmp_path, only_embed, local_ray_address) as drivers:
        stopped = drivers.start(*command)
        stopped.until(lambda: (tmp_path / "out" / "_partitions" / f"{days[1]}.json").exists())
        assert stopped.end(signal.SIGTERM) == 143, stopped.stderr()
        left = statuses(stopped.events[-1])
        assert (left[EMPTY], left[days[1]], left[days[-1]]) == ("empty", "done", "stopped")

        resumed = drivers.run(*command)
        assert statuses(resumed) == {day: "empty" if day == EMPTY else "done" for day in days}
        again = [row["key"] for row in resumed["partitions"] if row["why"]]
        assert again == [day for day in days if left[day] == "stopped"]
        assert rows_visible(tmp_path / "out") == 3 * EACH
        assert_adds_up(drivers, "out", 3 * EACH)
        assert drivers.run("partitions", "out")["tally"] == {"done": 3, "empty": 1}
