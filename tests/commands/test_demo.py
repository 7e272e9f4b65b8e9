"""Test `hanclip demo`: its arithmetic on known vectors, and the complete command as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from flows.commands.demo import Gallery, nearest, report
from flows.terminal import figures
from pipeline.curation.evaluate.recall import Recall
from pipeline.curation.evaluate.search import Direction, DirectionResult
from tests.fixtures.demo import Demo, run_demo
from tests.fixtures.places import ROOT

EYE = np.eye(12, dtype=np.float32)
NAMES = [f"名{i}" for i in range(12)]


def test_nearest_returns_the_top_five_by_similarity():
    query = np.array([0, 0.1, 0.9, 0.2, 0, 0.3, 0, 0.05, 0, 0, 0, 0.4], dtype=np.float32)
    assert nearest(query, Gallery([f"id{i}" for i in range(12)], NAMES, EYE)) == [
        (f"id{i}", f"名{i}", pytest.approx(s)) for i, s in [(2, 0.9), (11, 0.4), (5, 0.3), (3, 0.2), (1, 0.1)]
    ]


def test_the_report_states_both_recalls_and_the_vendor():
    metrics = {"held_out_vendor": "twemoji", "candidates": 1550, "text_to_image": [30.0, 60.0, 70.0]}
    here, then = report(DirectionResult(Direction.TEXT_TO_IMAGE, 12, 12, Recall(12, (1, 5, 10))), metrics)
    assert "twemoji, which the model was not trained on: 8.3 / 41.7 / 83.3 %" in here
    assert "12 candidates" in here
    assert "30.0 / 60.0 / 70.0 % (1,550 candidates" in then


@pytest.mark.slow
def test_the_demo_embeds_its_catalog_and_quarantines_the_planted_flaws(demo_run: Demo) -> None:
    flaws = json.loads((ROOT / "demo" / "imperfections.json").read_text(encoding="utf-8"))
    expected = {
        "empty_text": len(flaws["empty_captions"]),
        "truncated": len(flaws["truncated_images"]),
        "not_an_image": len(flaws["not_images"]),
    }
    assert figures.by_reason(expected) in demo_run.printed
    total, embedded, quarantined = map(
        int, re.search(r"rows in +([\d,]+) = ([\d,]+) embedded \+ (\d+)", demo_run.printed.replace(",", "")).groups()
    )
    assert total == embedded + quarantined
    assert quarantined == sum(expected.values())
    assert "bottleneck" in demo_run.printed


@pytest.mark.slow
def test_the_demo_answers_five_queries_and_reports_held_out_recall(demo_run: Demo) -> None:
    queries = (ROOT / "demo" / "queries.txt").read_text(encoding="utf-8").splitlines()[:5]
    answered = [line.split("│")[1].strip() for line in demo_run.printed.splitlines() if line.startswith("│ ")]
    assert [query for query in answered if query in queries] == queries
    found = re.search(r"recall@1 / 5 / 10 on twemoji.*: ([\d.]+) / ([\d.]+) / ([\d.]+) %", demo_run.printed)
    at_1, at_5, at_10 = map(float, found.groups())
    assert 10 < at_1 < at_5 < at_10
    assert at_10 > 50


@pytest.mark.slow
def test_the_demo_runs_again_on_its_own_output(demo_run: Demo, tmp_path: Path) -> None:
    again = run_demo(Path(shutil.copytree(demo_run.out, tmp_path / "out")))
    assert "Nothing to do" in again
    assert again.split("nearest images")[1] == demo_run.printed.split("nearest images")[1]
