from __future__ import annotations

from pathlib import Path

from flows.dev.logs import JOBS, archive, rotate


def test_each_start_has_its_log_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "flows.log"
    for start in range(5):
        rotate(log, kept=3)
        log.write_text(str(start))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "flows.log": "4",
        "flows.1.log": "3",
        "flows.2.log": "2",
    }


def test_logs_and_jobs_of_the_last_ray_sessions_stay(tmp_path: Path) -> None:
    ray, kept = tmp_path / "ray", tmp_path / "logs" / "ray"
    archive(ray, kept)
    assert not kept.exists(), "Ray never started"
    for day in range(4):
        session = ray / f"session_2026-01-0{day}"
        (session / "logs").mkdir(parents=True)
        (session / "logs" / "job-driver-one.log").write_text(str(day))
        (ray / "session_latest").unlink(missing_ok=True)
        (ray / "session_latest").symlink_to(session)
        (ray / JOBS).write_text(f"jobs {day}")
        archive(ray, kept, kept=2)
    archive(ray, kept, kept=2)
    assert [path.name for path in sorted(kept.iterdir())] == ["session_2026-01-02", "session_2026-01-03"]
    newest = kept / "session_2026-01-03"
    assert ((newest / "job-driver-one.log").read_text(), (newest / JOBS).read_text()) == ("3", "jobs 3")
