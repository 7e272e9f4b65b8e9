"""Workspaces that use an instance of DuckDB one after another: nothing of one is seen in the next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RunError
from pipeline.scratch import instances
from pipeline.scratch.user_sql import locked
from pipeline.scratch.workspace import Workspace


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The idle instances of this process; none at first."""
    found: list[Any] = []
    monkeypatch.setattr(instances, "_idle", {os.getpid(): found})
    return found


def test_the_next_workspace_has_the_instance_its_own_settings_and_nothing_else(idle: list[Any], tmp_path: Path) -> None:
    with Workspace(200) as first:
        first.execute("CREATE TABLE one AS SELECT 1 AS n")
        first.store("two", "SELECT 2 AS n")
        first.register("three", pa.table({"n": [3]}))
        first.execute("CREATE TEMP VIEW four AS SELECT 4 AS n")
        first.execute("SET VARIABLE five = 5")
        first.execute("SET TimeZone = 'Asia/Shanghai'")
        root = first._instance.root
    assert idle == [root]
    with Workspace(600) as second:
        assert (second._instance.root, idle) == (root, [])
        for name in ("one", "two", "three", "four"):
            with pytest.raises(RunError, match=name):
                second.rows(f"SELECT * FROM {name}")
        names = ("memory_limit", "threads", "temp_directory", "TimeZone", "preserve_insertion_order")
        settings = ", ".join(f"current_setting({name!r})" for name in names)
        [found] = second.rows(f"SELECT getvariable('five'), {settings}")
        assert found == (None, "572.2 MiB", 2, f"{second.folder}/spill", "UTC", False)
        with Workspace() as third:
            assert third._instance.root is not root
            third.execute("CREATE TABLE one AS SELECT 1 AS n")


def test_a_file_that_was_replaced_under_its_name_is_read_again(idle: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    for value in (1, 2):
        pq.write_table(pa.table({"n": [value]}), path)
        os.utime(path, (1, 1))
        with Workspace() as work:
            work.view("rows", str(path))
            assert work.rows("SELECT n FROM rows") == [(value,)]
    assert len(idle) == 1


def test_an_instance_with_an_error_with_spilled_data_or_with_locked_settings_is_not_used_again(idle: list[Any]) -> None:
    with pytest.raises(RunError), Workspace() as work:
        work.rows("SELECT * FROM nothing")
    with locked() as work:
        work.rows("SELECT 1")
    with Workspace(16) as work:
        work.store("sorted", "SELECT hash(range) AS h FROM range(2_000_000) ORDER BY h")
        assert (work.folder / "spill").exists()
    assert idle == []


def test_few_instances_are_kept_and_none_that_a_result_is_read_from(idle: list[Any]) -> None:
    opened = [Workspace() for _ in range(instances._KEPT + 2)]
    for work in opened:
        work.__exit__(None, None, None)
    assert len(idle) == instances._KEPT
    work = Workspace()
    reader = work.reader("SELECT range FROM range(1_000_000)")
    reader.read_next_batch()
    work.__exit__(None, None, None)
    with Workspace() as work:
        assert work.rows("SELECT 1") == [(1,)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_no_instance_to_end(idle: list[Any]) -> None:
    with Workspace() as work:
        work.rows("SELECT 1")
    assert len(idle) == 1
    child = os.fork()
    if not child:
        os._exit(len(idle))
    assert (os.waitpid(child, 0)[1], idle) == (0, [])
