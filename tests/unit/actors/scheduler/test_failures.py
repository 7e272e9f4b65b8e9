"""When failures end a run, and whether the error names a lack of memory."""

from __future__ import annotations

import pytest
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayActorError, RayError, RayTaskError

from actors.scheduler.failures import BLAMELESS, FailureBudget, FailureCause, cause_of, ray_errors_translated
from pipeline.errors import NotFoundError, RunError


def fail_until_the_end(budget: FailureBudget, cause: FailureCause, out_of_memory: bool = False) -> str:
    """Count failures until the budget is used up; the error."""
    for _ in range(100):
        try:
            budget.failed("embedder", "embed", cause, "ActorDiedError: it died.", out_of_memory)
        except RunError as error:
            return str(error)
    raise AssertionError("the budget never ends")


def test_kills_of_the_kernel_are_named_with_the_cure() -> None:
    kills = 3
    budget = FailureBudget(lambda: kills)
    assert budget.memory_note() == ""
    kills = 5
    assert "2 processes were killed because memory ran out. Lower --embedders" in fail_until_the_end(
        budget, FailureCause.DEATH
    )


def test_kills_of_ray_are_named_too() -> None:
    error = fail_until_the_end(FailureBudget(), FailureCause.DEATH, out_of_memory=True)
    assert "killed because memory ran out" in error


def test_a_death_without_a_known_cause_names_the_likely_one() -> None:
    assert "often killed for lack of memory" in fail_until_the_end(FailureBudget(), FailureCause.DEATH)
    assert "memory" not in fail_until_the_end(FailureBudget(), FailureCause.RAISED)


def test_errors_of_ray_become_our_own_and_those_of_a_call_stay() -> None:
    with (
        pytest.raises(RunError, match=r"Ray failed: ObjectStoreFullError: full.*same command again"),
        ray_errors_translated(),
    ):
        raise ObjectStoreFullError("full")
    raised = NotFoundError("no such object", "s3://bucket/x")
    with pytest.raises(NotFoundError, match="no such object") as caught, ray_errors_translated():
        raise RayTaskError("task", "its traceback", raised).as_instanceof_cause()
    assert str(caught.value) == "no such object"


def test_a_node_that_leaves_costs_no_chunk_an_attempt_and_ends_no_run() -> None:
    left, died = (cause_of(RayActorError(preempted=announced)) for announced in (True, False))
    assert (left, died) == (FailureCause.LEFT, FailureCause.DEATH)
    assert left in BLAMELESS
    assert died not in BLAMELESS
    budget = FailureBudget()
    for cause in (FailureCause.LEFT, FailureCause.LOST):
        for _ in range(100):
            budget.failed("embedder", "embed", cause, "its node left")
    assert "keep failing" in fail_until_the_end(budget, FailureCause.RAISED)


def test_the_loss_of_a_large_node_ends_no_run() -> None:
    budget = FailureBudget(actors=lambda: 130)
    for _ in range(130):
        budget.failed("decoder", "decode", FailureCause.DEATH, "its node is gone")
    assert "keep failing" in fail_until_the_end(budget, FailureCause.DEATH)


@pytest.mark.parametrize("full", [OutOfDiskError("no room"), ObjectStoreFullError("no room")])
def test_a_full_store_is_blamed_on_no_record(full: RayError) -> None:
    assert cause_of(full) is FailureCause.FULL
    assert cause_of(RayTaskError("embed", "its traceback", full).as_instanceof_cause()) is FailureCause.FULL
    assert FailureCause.FULL in BLAMELESS
    assert "Free space where Ray spills objects" in fail_until_the_end(FailureBudget(), FailureCause.FULL)
