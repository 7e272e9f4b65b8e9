"""Whose a job is: ids that keep flow runs apart, and who stops which jobs. Values and small fakes, no cluster."""

from __future__ import annotations

from flows.jobs.ids import attempt_id, attempt_of, is_job_id, job_id_base

#: Flow runs made in one loop: UUIDv7, the first 48 bits of which are the millisecond.
IN_ONE_LOOP = [
    "0690a4de-77c1-7bd6-8000-5c1c4b0ff0c1",
    "0690a4de-77c1-7bd6-9a01-0e1f5d7c22ab",
    "0690a4de-77c1-7f02-b310-77aa30b1e9d4",
]


def test_flow_runs_of_the_same_millisecond_have_jobs_of_their_own() -> None:
    bases = {job_id_base("embed", flow_run_id, "shop") for flow_run_id in IN_ONE_LOOP}
    assert len(bases) == 3
    assert all(is_job_id(attempt_id(base, 99)) for base in bases)
    assert [attempt_of(attempt_id(base, 12)) for base in bases] == [12] * 3
