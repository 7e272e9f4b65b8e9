"""The arithmetic of `hanclip demo`, on vectors whose answers are known, and what it reads from a dataset."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flows.demo import Gallery, nearest, recalls, report

EYE = np.eye(12, dtype=np.float32)
NAMES = [f"名{i}" for i in range(12)]


def gallery(captions: np.ndarray) -> Gallery:
    return Gallery([f"id{i}" for i in range(12)], NAMES, EYE, captions.astype(np.float32))


def test_nearest_are_sorted_by_similarity_and_five():
    query = np.array([0, 0.1, 0.9, 0.2, 0, 0.3, 0, 0.05, 0, 0, 0, 0.4], dtype=np.float32)
    assert nearest(query, gallery(EYE)) == [
        (f"id{i}", f"名{i}", pytest.approx(s)) for i, s in [(2, 0.9), (11, 0.4), (5, 0.3), (3, 0.2), (1, 0.1)]
    ]


def test_recall_counts_the_images_that_are_nearer_than_a_captions_own():
    assert recalls(gallery(EYE)) == (100.0, 100.0, 100.0)
    # Caption i has i images before its own: rank i.
    ranked = np.stack([np.where(np.arange(12) == i, 0.5, (np.arange(12) < i).astype(float)) for i in range(12)])
    assert recalls(gallery(ranked)) == (8.3, 41.7, 83.3)


def test_the_report_states_both_recalls_and_the_vendor():
    metrics = {"held_out_vendor": "twemoji", "candidates": 1550, "text_to_image": [30.0, 60.0, 70.0]}
    here, then = report(gallery(EYE), json.loads(json.dumps(metrics)))
    assert "twemoji, whose drawings the model was not trained on: 100.0 / 100.0 / 100.0 %" in here
    assert "12 candidates" in here
    assert "30.0 / 60.0 / 70.0 % (1,550 candidates" in then
