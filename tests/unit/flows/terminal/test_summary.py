"""The summary of a run: the balance adds up, and the advice and the commands match the outcome."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from actors.crew_size import CrewSize
from actors.reporting.bottleneck import find_bottleneck
from flows.commands.embed import run_panel
from flows.options.absolute import absolute
from flows.terminal.next_commands import next_commands
from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
from pipeline.jobs.progress import Bottleneck, Summary
from pipeline.stats import Stats

DONE = Summary(
    run_id="r1",
    state="complete",
    output="/data/my out",
    run_date="2026-01-31",
    model="demo",
    rows_planned=100,
    rows_already_done=20,
    rows_elsewhere=0,
    rows_left=0,
    stats=Stats(embedded=93, quarantined=Counter(timeout=5, truncated=2), bytes_read=2_000_000, bytes_written=70_000),
    seconds=4.0,
    actors_replaced=1,
    bottleneck=Bottleneck("decode", {"read": 0.1, "decode": 0.97, "embed": 0.4}, "add CPU cores"),
    exit_code=3,
    startup_s=2.0,
    examples={"truncated": "b.jpg", "timeout": "a.jpg"},
    crew_changes=("3 decoders instead of 1: 3 nodes instead of 1",),
)


def drawn(summary: Summary) -> str:
    console = Console(width=160, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(run_panel(summary))
    return captured.get()


def test_texts_that_the_model_cannot_read_are_reported():
    stats = replace(DONE.stats, texts=80, texts_unknown=2)
    assert "2.5 % (2 of 80) have no character that the model's vocabulary has" in drawn(replace(DONE, stats=stats))
    assert "vocabulary" not in drawn(DONE)


def test_rows_in_equal_the_sum_of_all_outcomes():
    assert DONE.balance == "120 = 93 embedded + 7 quarantined + 20 already done"
    stopped = replace(DONE, state="stopped", rows_planned=150, rows_elsewhere=10, rows_left=40)
    assert stopped.balance == (
        "170 = 93 embedded + 7 quarantined + 20 already done + 10 committed by another run + 40 left"
    )


def test_the_panel_shows_the_bottleneck_the_reasons_and_the_output():
    text = drawn(DONE)
    assert "complete in 4.0 s" in text
    assert "50.0 records/s after 2.0 s of start-up, read 2.0 MB, wrote 70.0 kB" in text
    assert "timeout a.jpg, truncated b.jpg" in text
    assert "timeout 5, truncated 2" in text
    assert "decode (busy: read 10 %, decode 97 %, embed 40 %). add CPU cores" in text
    assert "/data/my out (run_date=2026-01-31)" in text
    assert "1 replaced after they died" in text
    assert "3 decoders instead of 1: 3 nodes instead of 1" in text
    assert "vanished" not in text
    assert "1,234 ids that the catalog no longer holds" in drawn(replace(DONE, rows_vanished=1234))


def test_a_path_with_brackets_is_shown_unchanged():
    assert " /data/[bold]x[/bold] (run_date" in drawn(replace(DONE, output="/data/[bold]x[/bold]"))


def test_a_message_with_brackets_does_not_break_the_panel():
    assert "cannot read [/nothing]" in drawn(replace(DONE, state="failed", message="cannot read [/nothing]"))


def test_a_retry_is_offered_only_for_transient_reasons():
    assert any(c.endswith("hanclip retry '/data/my out' --reason timeout") for c in next_commands(DONE))
    assert any("id, reason, detail" in command for command in next_commands(DONE))
    unreadable = replace(DONE, stats=Stats(embedded=1, quarantined=Counter(truncated=2)))
    assert not any("retry" in command for command in next_commands(unreadable))
    assert not any("reason" in command for command in next_commands(replace(DONE, stats=Stats(embedded=1))))


@pytest.mark.parametrize("name", ["my out", "it's $out"])
def test_the_duckdb_commands_can_be_executed(tmp_path, name):
    out = tmp_path / name
    columns = {
        "embeddings": "0.5 as similarity, [1.0] as image_embedding",
        "_quarantine": "'x' as reason, 'y' as detail",
    }
    for folder, values in columns.items():
        (out / folder / "run_date=2026-01-31").mkdir(parents=True)
        duckdb.sql(f"select 'a' as id, {values}").write_parquet(str(out / folder / "run_date=2026-01-31" / "x.parquet"))
    *others, failed, command = next_commands(replace(DONE, output=str(out)))
    for line, words in ((command, ("0.5", "similarity")), (failed, ("reason", "detail"))):
        shown = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
        assert all(word in shown for word in words)
        assert "embedding" not in shown
    assert len(others) == len(next_commands(replace(DONE, output="s3://bucket/out")))


def test_the_program_name_is_shortened_to_what_the_shell_finds(tmp_path, monkeypatch):
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    assert next_commands(DONE)[0] == "hanclip verify '/data/my out'"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(folder.parent)
    assert next_commands(DONE)[0] == "bin/hanclip verify '/data/my out'"


def test_no_bottleneck_is_named_if_no_stage_was_busy_for_long():
    layout = CrewSize(2, 2, 1, 0.5, 0.5, 0, 1, 64, 1)
    busy = {"read": 0.1, "decode": 0.55, "embed": 0.3, "write": 0.0}
    for seconds, shares in ((3.0, busy), (60.0, busy | {"decode": 0.35})):
        none = find_bottleneck(shares, seconds, layout)
        assert none.stage is None
        assert re.search("bottleneck +no stage was busy for long", drawn(replace(DONE, bottleneck=none)))
    named = find_bottleneck(busy, 60.0, layout)
    assert (named.stage, named.advice.partition(":")[0]) == ("decode", "2 decoders worked 55 % of the time")


def test_a_stored_configuration_has_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    config = absolute(
        RunConfig(
            source=SourceConfig(uris=("photos", "/data/*.tar", "s3://bucket/x", "zip://a::s3://b/c.zip")),
            model=ModelConfig(name="model"),
            output=OutputConfig(uri="out/"),
        )
    )
    assert config.source.uris == (f"{tmp_path}/photos", "/data/*.tar", "s3://bucket/x", "zip://a::s3://b/c.zip")
    assert (config.model.name, config.output.uri) == (f"{tmp_path}/model", f"{tmp_path}/out")
    assert absolute(RunConfig(model=ModelConfig(name="org/model"))).model.name == "org/model"
    assert absolute(RunConfig(model=ModelConfig(name="demo"))).model.name == "demo"
