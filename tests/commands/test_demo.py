"""`hanclip demo`: its arithmetic on vectors whose answers are known, and the whole of it as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flows.commands.demo import Gallery, nearest, report
from flows.terminal import figures
from pipeline.curation.evaluate.recall import Recall
from pipeline.curation.evaluate.search import Direction, DirectionResult
from tests.fixtures.places import ROOT

EYE = np.eye(12, dtype=np.float32)
NAMES = [f"名{i}" for i in range(12)]


def test_nearest_are_sorted_by_similarity_and_five():
    query = np.array([0, 0.1, 0.9, 0.2, 0, 0.3, 0, 0.05, 0, 0, 0, 0.4], dtype=np.float32)
    assert nearest(query, Gallery([f"id{i}" for i in range(12)], NAMES, EYE)) == [
        (f"id{i}", f"名{i}", pytest.approx(s)) for i, s in [(2, 0.9), (11, 0.4), (5, 0.3), (3, 0.2), (1, 0.1)]
    ]


def test_the_report_states_both_recalls_and_the_vendor():
    metrics = {"held_out_vendor": "twemoji", "candidates": 1550, "text_to_image": [30.0, 60.0, 70.0]}
    here, then = report(DirectionResult(Direction.TEXT_TO_IMAGE, 12, 12, Recall(12, (1, 5, 10))), metrics)
    assert "twemoji, whose drawings the model was not trained on: 8.3 / 41.7 / 83.3 %" in here
    assert "12 candidates" in here
    assert "30.0 / 60.0 / 70.0 % (1,550 candidates" in then


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[subprocess.CompletedProcess[str]]:
    """`hanclip demo` twice in an empty folder."""
    place = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
    command = [str(Path(sys.executable).with_name("hanclip")), "demo"]
    return [
        subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    ]


@pytest.mark.slow
def test_the_demo_embeds_its_catalog_and_quarantines_exactly_what_was_spoiled(demo):
    assert demo[0].returncode == 0, demo[0].stderr
    flaws = json.loads((ROOT / "demo" / "imperfections.json").read_text(encoding="utf-8"))
    expected = {
        "empty_text": len(flaws["empty_captions"]),
        "truncated": len(flaws["truncated_images"]),
        "not_an_image": len(flaws["not_images"]),
    }
    assert figures.by_reason(expected) in demo[0].stdout
    total, embedded, quarantined = map(
        int, re.search(r"rows in +([\d,]+) = ([\d,]+) embedded \+ (\d+)", demo[0].stdout.replace(",", "")).groups()
    )
    assert total == embedded + quarantined
    assert quarantined == sum(expected.values())
    assert "bottleneck" in demo[0].stdout


@pytest.mark.slow
def test_the_demo_answers_five_queries_and_states_its_recall_on_the_vendor_it_never_saw(demo):
    queries = (ROOT / "demo" / "queries.txt").read_text(encoding="utf-8").splitlines()[:5]
    answered = [line.split("│")[1].strip() for line in demo[0].stdout.splitlines() if line.startswith("│ ")]
    assert [query for query in answered if query in queries] == queries
    found = re.search(r"recall@1 / 5 / 10 on twemoji.*: ([\d.]+) / ([\d.]+) / ([\d.]+) %", demo[0].stdout)
    at_1, at_5, at_10 = map(float, found.groups())
    assert 10 < at_1 < at_5 < at_10
    assert at_10 > 50


@pytest.mark.slow
def test_the_demo_runs_again_on_its_own_output(demo):
    assert demo[1].returncode == 0, demo[1].stderr
    assert "Nothing to do" in demo[1].stdout
    assert demo[1].stdout.split("nearest images")[1] == demo[0].stdout.split("nearest images")[1]
