"""Any number of drivers that plan, commit, die and start again while the source changes: no record is lost or doubled.

Drivers run the real planning code in threads and stop at every read and write of shared state, so that Hypothesis picks
the order. With PLAN_EXAMPLES=500 in the environment it searches at random, for longer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Semaphore, Thread, current_thread
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import AlreadyExistsError
from pipeline.plan import draft, log
from pipeline.plan.draft import Plan
from pipeline.plan.make import make_plan, make_retry_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.plan.shards import ToDo
from pipeline.sources import scan
from tests.fixtures.catalogs import MODEL, Catalog, skus
from tests.fixtures.datasets import carry_out

_ROWS, _SHARD_ROWS = 700, 256
_EXAMPLES = int(os.environ.get("PLAN_EXAMPLES", "0"))


class KilledError(BaseException):
    """Ends the thread of a driver that is killed."""


class Driver(Thread):
    """A planner that runs up to its next access to shared state, each time it is let."""

    def __init__(self, make: Callable[[], Plan]) -> None:
        super().__init__(daemon=True)
        self.plan: Plan | None = None
        self.error: BaseException | None = None
        self._make, self._killed = make, False
        self._go, self._stopped = Semaphore(0), Semaphore(0)
        self.start()
        self._stopped.acquire()

    def run(self) -> None:
        try:
            self.pause()
            self.plan = self._make()
        except KilledError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the test
            self.error = error
        self._stopped.release()

    def pause(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._killed:
            raise KilledError

    def step(self) -> None:
        self._go.release()
        self._stopped.acquire()
        if self.error:
            raise self.error

    def kill(self) -> None:
        self._killed = True
        self._go.release()
        self.join()

    def finish(self) -> Plan:
        while not self.plan:
            self.step()
        return self.plan


def pausing(real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call `real` when the driver of this thread goes on."""
    driver = current_thread()
    if isinstance(driver, Driver):
        driver.pause()
    return real(*arguments, **options)


SOME = st.integers(0, 10**6)


class Nights(RuleBasedStateMachine):
    """The dataset, its source, the drivers that plan, and the plans that may be carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="nights-"))
        self.patch = pytest.MonkeyPatch()
        self.reads = 0
        for home, name in (
            (log, "newest"), (log, "append"), (Dataset, "committed"), (draft, "read_known"), (draft, "write_known"),
        ):  # fmt: skip
            real = getattr(home, name)
            self.patch.setattr(home, name, lambda *given, real=real, **named: pausing(real, *given, **named))
        leave_out = ToDo._leave_out_done
        self.patch.setattr(ToDo, "_leave_out_done", lambda *given: (self._count(), leave_out(*given))[1])
        self.catalog = Catalog(self.folder)
        self.out = self.catalog.out
        self.ids, self.states, self.fresh = skus(_ROWS), Counter[str](), 0
        self.drivers: list[Driver] = []
        self.plans: list[Plan] = []

    def _count(self) -> None:
        self.reads += 1

    @initialize()
    def three_nights(self) -> None:
        """A run that is not finished, a driver that is about to take its number, and a plan that was made meanwhile."""
        self._write()
        self.plans.append(self._full())
        carry_out(self.plans[0], shards=slice(1))
        for first in (0, 1):
            self.states.update(self.ids[first::40])
            self._write()
            if first == 0:
                self.drivers.append(Driver(self._full))
                for _ in range(5):
                    self.drivers[0].step()
        self.plans.append(self._full())

    def _write(self) -> None:
        self.catalog.write("part-0", self.ids, self.states)

    def _full(self) -> Plan:
        return make_plan(self.catalog.config(shard_rows=_SHARD_ROWS), MODEL, new_run_id(), 2)

    def _retry(self) -> Plan:
        return make_retry_plan(self.catalog.config(), MODEL, new_run_id(), str(self.out))

    @rule(what=st.sampled_from(["change", "insert", "drop"]), at=SOME, much=st.booleans())
    def edit(self, what: str, at: int, much: bool) -> None:
        at %= len(self.ids)
        if what == "change":
            self.states.update(self.ids[at % 40 :: 5 if much else 40])
        elif what == "insert":
            self.ids[at:at] = skus(400 if much else 1, f"new-{self.fresh}")
            self.fresh += 1
        else:
            del self.ids[at : at + 20]
        self._write()

    @rule(start=st.booleans(), retry=SOME, which=SOME, steps=st.sampled_from([1, 2, 4, 20]))
    def drive(self, start: bool, retry: int, which: int, steps: int) -> None:
        """Let a new or a waiting driver go on for some steps."""
        if not self.drivers or (start and len(self.drivers) < 3):
            self.drivers.append(Driver(self._full if retry % 4 else self._retry))
        driver = self.drivers[which % len(self.drivers)]
        for _ in range(steps):
            if not driver.plan:
                driver.step()
        if driver.plan:
            self.drivers.remove(driver)
            self._planned(driver.plan)

    def _planned(self, plan: Plan) -> None:
        own = [shard.rows for shard in plan.shards if shard.planned_by == plan.run_id]
        assert sum(rows < _SHARD_ROWS for rows in own) <= 1
        self.plans.append(plan)

    @precondition(lambda self: self.plans)
    @rule(which=SOME, first=SOME, count=st.integers(1, 4), failing=st.booleans())
    def commit(self, which: int, first: int, count: int, failing: bool) -> None:
        plan = self.plans[which % len(self.plans)]
        bad = dict.fromkeys(self.ids[first % 9 :: 9], "timeout") if failing else {}
        for number in range(count):
            at = (first + number) % max(1, len(plan.shards))
            with suppress(AlreadyExistsError):
                carry_out(plan, bad, slice(at, at + 1))

    @rule(what=st.sampled_from(["planner", "run", "planner", "run", "file", "_plans", "_cuts", "damage"]), which=SOME)
    def lose(self, what: str, which: int) -> None:
        """Kill a driver while or after it plans; or delete or damage what is stored, while no run is alive."""
        if what in ("planner", "run"):
            if self.drivers and what == "planner":
                self.drivers.pop(which % len(self.drivers)).kill()
            elif self.plans:
                self.plans.pop(which % len(self.plans))
            return
        self._stop()
        files = sorted(self.out.glob("embeddings/*/*.parquet"))
        if what == "file" and files:
            files[which % len(files)].unlink()
        elif what == "damage":
            for file in self.out.glob("_cuts/*"):
                file.write_bytes(file.read_bytes()[:-40] + bytes(40))
        else:
            shutil.rmtree(self.out / what, ignore_errors=True)

    def _stop(self) -> None:
        for driver in self.drivers:
            driver.kill()
        self.drivers, self.plans = [], []

    def teardown(self) -> None:
        try:
            for driver in self.drivers:
                self._planned(driver.finish())
            self.drivers = []
            for plan in self.plans[::-1]:
                for number in range(len(plan.shards)):
                    with suppress(AlreadyExistsError):
                        carry_out(plan, shards=slice(number, number + 1))
            if self.ids and Path(self.out, layout.IDENTITY).exists():
                self._undisturbed()
        finally:
            self._stop()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def _listed(self) -> set[tuple[str, str]]:
        batches: list[pa.RecordBatch] = []
        scan(self.catalog.config().source, batches.append)
        rows = pa.Table.from_batches(batches)
        return set(zip(rows["id"].to_pylist(), rows["source_fingerprint"].to_pylist(), strict=True))

    def _undisturbed(self) -> None:
        carry_out(self._full())
        dataset = Dataset.open(str(self.out))
        rows = dataset.embeddings(["id", "source_fingerprint"]).to_table()
        embedded = Counter(zip(rows["id"].to_pylist(), rows["source_fingerprint"].to_pylist(), strict=True))
        failed = dataset.quarantine(["id", "source_fingerprint", "attempts"]).to_table()
        tried = Counter(zip(*(failed[name].to_pylist() for name in failed.column_names[:3]), strict=True))
        assert {*embedded.values(), *tried.values()} == {1}
        assert {*embedded, *(record[:2] for record in tried)} >= self._listed()
        self.reads = 0
        again = self._full()
        assert (again.shards, again.rows_already_done, self.reads) == ([], len(self.ids), 0)


def test_no_interleaving_of_planners_commits_kills_and_changes_loses_or_doubles_a_record() -> None:
    chosen = settings(
        max_examples=_EXAMPLES or 5,
        stateful_step_count=30 if _EXAMPLES else 8,
        derandomize=not _EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(partial(Nights), settings=chosen)  # type: ignore[no-untyped-call]
