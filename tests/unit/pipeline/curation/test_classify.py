"""Templates in Python files, read and never run; and equal classes, of which the first wins, always."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.prompts import class_vectors, count_prompts
from pipeline.curation.classify.run import Classifier, predict
from pipeline.curation.classify.templates import read_templates
from pipeline.errors import ConfigError

SOURCE = """
import os
os.mkdir("RAN")
openai_templates = [lambda c: f"{c}的照片", lambda c: f"一张{c}的照片。", lambda c: f"{c}的照片"]
aircraft_templates = [lambda name: "一架" + name]
food_templates = ("{}，食物",)
classnames = ["猫", "狗"]
computed = [lambda c: f"{c!r}", lambda c: c.upper()]
other = [template for template in openai_templates]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "theirs.py"
    path.write_text(SOURCE.replace("RAN", str(tmp_path / "ran")), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [
        ("#openai_templates", None, ("{}的照片", "一张{}的照片。", "{}的照片")),
        ("#food_templates", "country211", ("{}，食物",)),
        ("", "fgvc-aircraft-2013b-variants102", ("一架{}",)),
        ("", "food-101", ("{}，食物",)),
        ("", "cifar-100", ("{}的照片", "一张{}的照片。", "{}的照片")),
    ],
)
def test_a_list_is_read_by_name_or_chosen_by_the_set(file, name, dataset, expected, tmp_path):
    assert read_templates([f"{file}{name}"], dataset) == expected
    assert not (tmp_path / "ran").exists()


def test_an_unclear_choice_names_the_lists(file, tmp_path):
    for name, dataset in (("", None), ("#nothing", None), ("", "eurosat_clip"), ("#classnames", None)):
        with pytest.raises(
            ConfigError, match=r"openai_templates \(3\), aircraft_templates \(1\), food_templates \(1\)"
        ):
            read_templates([f"{file}{name}"], dataset)
    for text, words in (("x = 1", "no list of templates"), ("x = [", "not a Python file"), ("(" * 999, "not a Python")):
        (tmp_path / "b.py").write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_templates([str(tmp_path / "b.py")])
    with pytest.raises(ConfigError, match="neither a file nor a set"):
        read_templates([str(tmp_path / "missing.py#x")])


class Unsteady:
    """An encoder whose vectors differ in the last bits from call to call, as those of batched products do."""

    dim = 3

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        self.texts += texts
        vectors = np.array([[1.0, 1e-6 * number, ord(text[0])] for number, text in enumerate(texts)], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_first_of_equal_classes_wins_and_is_encoded_once():
    names = [("苹果",), ("Cat",), ("梨", "x"), ("苹果",), ("cat",), ("梨",)]
    classes, encoder = Classes(tuple(names)), Unsteady()
    done: list[int] = []
    weights = class_vectors(encoder, classes, ["{}", "{}图"], done.append)
    assert len(encoder.texts) == sum(done) == count_prompts(classes, ["{}", "{}图"]) == 10
    assert (weights[3] == weights[0]).all()
    assert (weights[4] == weights[1]).all()
    rng = np.random.default_rng(1)
    uneven = weights + rng.normal(0, 1e-7, weights.shape).astype(np.float32)  # as products of equal rows are
    uneven[3] = np.nextafter(uneven[0], np.float32(9))
    images = rng.normal(size=(200, 3)).astype(np.float32)
    found = predict(images, Classifier(classes, uneven, top_k=6)).classes
    places = np.argsort(found, axis=1)
    assert (places[:, 0] < places[:, 3]).all()
    assert (places[:, 1] < places[:, 4]).all()
