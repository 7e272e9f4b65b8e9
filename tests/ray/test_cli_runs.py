"""Test the commands on a real folder, Ray and tiny checkpoint: plan, embed, status, verify, resume, retry."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from PIL import Image

from flows.cli import main
from tests.fixtures.checkpoints import write_checkpoint
from tests.fixtures.forks import ForkServer

pytestmark = pytest.mark.slow

HANCLIP = str(Path(sys.executable).parent / "hanclip")
IMAGES = 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with `photos/` (30 images with captions, one non-image file) and `model/`."""
    place = tmp_path_factory.mktemp("place")
    photos = place / "photos" / "商品"
    photos.mkdir(parents=True)
    for i in range(IMAGES):
        Image.new("RGB", (40 + i, 30), (8 * i, 255 - 8 * i, 90)).save(photos / f"{i:02d}.png")
        (photos / f"{i:02d}.txt").write_text(f"第{i}件商品", encoding="utf-8")
    (photos / "page.jpg").write_text("<html>not found</html>")
    (photos / "page.txt").write_text("一页", encoding="utf-8")
    write_checkpoint(place / "model")
    return place


def hanclip(place: Path, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process, which starts its own Ray."""
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", **more}
    return subprocess.run([HANCLIP, *argv], cwd=place, env=environment, capture_output=True, text=True, check=False)


def in_process(place: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which has already imported everything."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(place),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setenv("COLUMNS", "160")
        patch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit) as ended:
            main(argv)
    return subprocess.CompletedProcess(argv, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def dry(place: Path) -> subprocess.CompletedProcess[str]:
    return hanclip(place, "embed", "photos", "out", "--model", "model", "--dry-run", "--json")


@pytest.fixture(scope="module")
def embedded(place: Path, dry: object, fork_server: ForkServer) -> subprocess.CompletedProcess[str]:
    return hanclip(place, "embed", "photos", "out", "--model", "model", "--json", **fork_server.env)


def test_a_dry_run_counts_and_writes_nothing(place, dry):
    assert dry.returncode == 0, dry.stderr
    (plan,) = lines(dry.stdout)
    assert (plan["event"], plan["rows_in"], plan["rows"], plan["rows_already_done"]) == ("plan", 31, 31, 0)
    assert plan["shards"] == 1
    assert sorted(path.name for path in place.iterdir() if path.name != "out") == ["model", "photos"]


def test_json_lines_report_progress_and_end_with_a_summary_that_adds_up(embedded):
    assert embedded.returncode == 0, embedded.stderr
    *progress, summary = lines(embedded.stdout)
    assert {event["event"] for event in progress} == {"progress"}
    assert {"planning", "starting"} <= {event["state"] for event in progress}
    assert summary["event"] == "summary"
    assert summary["state"] == "complete"
    assert summary["rows_in"] == IMAGES + 1
    assert summary["stats"]["embedded"] == IMAGES
    assert summary["stats"]["quarantined"] == {"not_an_image": 1}


def test_the_dataset_opens_with_one_line_of_duckdb(place, embedded):
    files = f"{place}/out/embeddings/**/*.parquet"
    rows = duckdb.sql(f"select id, text, similarity from '{files}' order by id").fetchall()
    assert [row[:2] for row in rows] == [(f"商品/{i:02d}.png", f"第{i}件商品") for i in range(IMAGES)]
    assert all(-1 <= row[2] <= 1 for row in rows)


def test_status_and_verify_count_the_same_rows(place, embedded):
    (status,) = lines(in_process(place, "status", "out", "--json").stdout)
    assert (status["rows"], status["quarantined"]) == (IMAGES, {"not_an_image": 1})
    audit = in_process(place, "verify", "out", "--json")
    (verified,) = lines(audit.stdout)
    assert audit.returncode == 0
    assert (verified["ok"], verified["complete"]) == (True, True)
    assert (verified["planned"], verified["embedded"], verified["quarantined"]) == (IMAGES + 1, IMAGES, 1)


def test_status_and_verify_print_readable_summaries(place, embedded):
    assert f"{IMAGES} rows in 1 shard," in in_process(place, "status", "out").stdout
    assert f"{IMAGES + 1} = {IMAGES} embedded + 1 quarantined + 0 missing" in in_process(place, "verify", "out").stdout


def test_rerunning_the_command_has_nothing_to_do(place, embedded):
    again = in_process(place, "embed", "photos/", "out/", "--model", "./model")
    assert again.returncode == 0, again.stderr
    assert f"{IMAGES + 1} = 0 embedded + 0 quarantined + {IMAGES + 1} already done" in again.stdout
    assert "Nothing to do" in again.stdout


def test_retry_runs_only_the_quarantined_record_and_explains_its_exit_code_3(
    place, embedded, tmp_path, local_ray_address
):
    strict = ["--max-quarantine", "0.01", "--quiet", "--address", local_ray_address]
    again = in_process(tmp_path, "retry", str(place / "out"), "--reason", "not_an_image", *strict)
    assert (again.returncode, again.stdout) == (3, ""), again.stderr
    assert "3 % of the dataset's records are in quarantine, more than --max-quarantine allows" in again.stderr
    (status,) = lines(in_process(place, "status", "out", "--json").stdout)
    newest = status["runs"][0]["report"]
    assert (newest["rows_planned"], newest["stats"]["quarantined"]) == (1, {"not_an_image": 1})


def test_verify_fails_on_a_damaged_file_and_names_it(place, embedded, tmp_path):
    copy = shutil.copytree(place / "out", tmp_path / "copy")
    file = max(copy.glob("embeddings/**/*.parquet"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-100])
    audit = in_process(place, "verify", str(copy))
    assert audit.returncode == 1
    assert file.name in re.sub(r"[\s│]", "", audit.stdout), "a long path is wrapped inside the frame"


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["embed", "photoz", "o", "--model", "no-such-model"], 2, "photoz does not exist: check the name. Looked for"),
        (["embed", "photoz", "o", "--model", "no-such-model", "--dry-run"], 2, "photoz does not exist"),
        (["embed", "photos", "o", "--model", "no-such-model"], 2, "no-such-model"),
        (["status", "photos"], 2, "There is no dataset at"),
        (["verify", "nowhere"], 2, "There is no dataset at"),
        (["retry", "nowhere"], 2, "There is no dataset at"),
        (["embed", "photos", "photos/商品/page.jpg/o", "--model", "model"], 2, "page.jpg is not a folder"),
        (["embed", "photos", "photos/商品/page.jpg/o", "--model", "model", "--dry-run"], 2, "page.jpg is not a folder"),
        (["embed", "photos", ".", "--model", "model"], 2, "hanclip's own"),
    ],
)
def test_errors_are_one_message_without_a_traceback(place, monkeypatch, capfd, argv, code, message):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as ended:
        main(argv)
    captured = capfd.readouterr()
    assert (ended.value.code, captured.out) == (code, "")
    assert message in captured.err
    assert "Traceback" not in captured.err
