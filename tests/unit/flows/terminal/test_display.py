"""The progress display: the panel, when lines are written, and that `--json` keeps stdout free of other output."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from datetime import datetime

import pytest
from rich.console import Console

from flows.terminal.display import LogLines, choose, line, panel
from flows.terminal.json_lines import JsonLines
from pipeline.jobs.progress import Progress, StageProgress
from pipeline.stats import Stats

RUNNING = Progress(
    run_id="r1",
    state="running",
    rows_planned=2000,
    rows_already_done=30,
    shards_planned=4,
    shards_done=1,
    stats=Stats(embedded=480, quarantined=Counter(truncated=15, empty_text=5)),
    stages=(StageProgress("decode", 2, 0.97, 410.0, 3), StageProgress("embed", 1, 0.4, 405.5, 12)),
    records_per_s=410.0,
    bytes_per_s=3_200_000.0,
    inflight_bytes=48_000_000,
    actors_replaced=2,
    eta_s=3.6,
    crew_changes=("2 decoders instead of 1: 2 nodes instead of 1",),
)


def drawn(progress: Progress) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(panel(progress, "SPINNER"))
    return captured.get()


def test_the_panel_shows_rows_rates_stages_and_quarantine():
    text = drawn(RUNNING)
    for part in ("500/2,000 records", "25 %", "3.6 s left", "410 records/s", "3.2 MB/s", "in flight 48.0 MB"):
        assert part in text
    assert "quarantine 20: truncated 15, empty_text 5" in text
    assert "actors replaced 2" in text
    assert "already done 30" in text
    assert "2 decoders instead of 1" in text
    stages = [words.split() for words in text.splitlines() if words.split()[:1] in (["decode"], ["embed"])]
    assert stages == [["decode", "2", "97", "%", "410", "3"], ["embed", "1", "40", "%", "406", "12"]]


@pytest.mark.parametrize("state", ["planning", "starting"])
def test_before_the_first_rows_the_panel_is_a_spinner(state):
    assert drawn(Progress(run_id="r1", state=state)).strip() == "SPINNER"


def test_a_log_line_has_the_same_facts():
    assert line(RUNNING)[9:] == (
        "running 500/2,000 records (25 %), 410 records/s, 3.2 MB/s, 3.6 s left, busy decode 97 % embed 40 %,"
        " quarantined 20 (truncated 15, empty_text 5), actors replaced 2"
    )


@pytest.mark.parametrize(
    ("state", "waiting_for", "text"),
    [
        ("starting", "the embedders to load the model", "Starting: waiting for the embedders to load the model"),
        ("stopping", "the writers", "Stopping: waiting for the writers"),
    ],
)
def test_the_reason_for_waiting_is_written_immediately(state, waiting_for, text):
    written: list[str] = []
    lines = LogLines(written.append, clock=lambda: 0.0)
    lines.update(Progress(run_id="r1", state="starting"))
    lines.update(Progress(run_id="r1", state=state, waiting_for=waiting_for))
    assert written[-1].endswith(text)


def test_json_lines_are_written_every_2_s_and_on_state_changes(capfd):
    now = 0.0
    with JsonLines(clock=lambda: now) as lines:
        for half_seconds in range(14):
            now = half_seconds / 2
            lines.update(Progress(run_id="r1", state="starting" if now < 2.5 else "running", elapsed_s=now))
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["elapsed_s"] for line in events] == [0, 2, 2.5, 4.5, 6.5]
    assert datetime.fromisoformat(events[0]["at"]).tzinfo


def test_log_lines_are_written_after_2_s_then_every_10_s_and_on_state_changes():
    now = 0.0
    written: list[tuple[float, str]] = []
    lines = LogLines(lambda text: written.append((now, text.split()[1])), clock=lambda: now)
    states = {0: "planning", 1: "starting", 4: "running"}
    state = "planning"
    for second in range(30):
        now, state = float(second), states.get(second, state)
        lines.update(Progress(run_id="r1", state=state, rows_planned=10 if state == "running" else 0))
    lines.update(Progress(run_id="r1", state="complete", rows_planned=10))  # the summary follows
    assert written == [
        (0, "Planning:"),
        (1, "Starting:"),
        (2, "Starting:"),
        (4, "running"),
        (12, "running"),
        (22, "running"),
    ]


def test_only_json_lines_go_to_stdout_and_other_output_to_stderr():
    script = """
import os, sys
from pipeline.jobs.progress import Progress
from flows.terminal.json_lines import JsonLines
print("before", flush=True)
with JsonLines() as lines:
    print("printed by a library")
    os.write(1, b"written by C code\\n")
    os.system("echo printed by a child")
    lines.update(Progress(run_id="r1", state="planning"))
    lines.write("summary", {"text": "红苹果"})
print("after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, progress, summary, after = done.stdout.splitlines()
    assert (before, after) == ("before", "after")
    assert json.loads(progress)["event"] == "progress"
    assert json.loads(progress)["stats"]["embedded"] == 0
    assert json.loads(summary) == {"event": "summary", "text": "红苹果"}
    for text in ("printed by a library", "written by C code", "printed by a child"):
        assert text in done.stderr


def test_a_quiet_command_shows_no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pipeline.images")
    with choose(quiet=True):
        logger.warning("slower")
        logger.error("broken")
    logger.warning("after")
    assert caplog.messages == ["broken", "after"]
