"""Test what makes rows duplicates: the order of rungs, pairs that are none, their file, and the settings' form."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.curation.dedup.links.conditions import Conditions, under_conditions
from pipeline.curation.dedup.links.likeness import Likeness
from pipeline.curation.dedup.links.pairs import RungPairs
from pipeline.curation.dedup.links.rungs import rungs_of
from pipeline.curation.dedup.never import read_never
from pipeline.curation.dedup.pairs import compare
from pipeline.curation.dedup.rows import Indices, normalised
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.dedup.union_find import UnionFind
from pipeline.errors import ConfigError
from tests.fixtures.datasets import an_identity


def on_a_line(places: Indices) -> tuple[RungPairs, list[int]]:
    """Rows that are near if their places differ by at most 10, few pairs of them listed; and how many were compared."""
    compared = [0]
    firsts = np.array([np.flatnonzero(places == place)[0] for place in places])
    classes = np.unique(firsts)

    def apart(one: Indices, other: Indices) -> Indices:
        compared[0] += len(one)
        return np.abs(places[one] - places[other])

    near = np.triu(np.abs(places[classes][:, None] - places[classes]) <= 10, 1)
    listed = compare.thinned(classes, classes, *np.nonzero(near))
    likeness = Likeness(lambda one, other: apart(one, other) <= 10, lambda one, other: -apart(one, other).astype(float))
    return RungPairs("image", firsts, listed.first, listed.second, listed.crowded, likeness), compared


def components(count: int, first: Indices, second: Indices) -> list[int]:
    groups = UnionFind(count)
    groups.join(first, second)
    return groups.roots.tolist()


def test_pairs_that_are_none_leave_the_others_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "CROWD", 1)
    draw = np.random.default_rng(1)
    for _ in range(60):
        places = draw.integers(0, draw.integers(30, 300), 40)
        part, _ = on_a_line(places)
        never = draw.integers(0, 40, (draw.integers(1, 40), 2))
        never = never[never[:, 0] != never[:, 1]]
        found = under_conditions("image", [part], Conditions.of(40, None, never))
        near = np.abs(places[:, None] - places) <= 10
        near[never[:, 0], never[:, 1]] = near[never[:, 1], never[:, 0]] = False
        one, other = np.nonzero(np.triu(near, 1))
        assert components(40, *found.linked()) == components(40, one, other)
        listed = {*zip(found.first.tolist(), found.second.tolist(), strict=True)}
        ends = zip(found.firsts[one].tolist(), found.firsts[other].tolist(), strict=True)
        unlisted = {(min(pair), max(pair)) for pair in ends if pair[0] != pair[1]} - listed
        assert {end for pair in unlisted for end in pair} <= {*found.crowded.tolist()}
        assert all(near[pair] for pair in listed)


def test_one_pair_that_is_none_costs_no_comparison_of_all_pairs() -> None:
    part, compared = on_a_line(np.arange(1000) % 10 + np.arange(1000) / 1000)
    found = under_conditions("image", [part], Conditions.of(1000, None, np.array([[7, 500]])))
    assert compared[0] < 10 * 1000
    assert not found.likeness.test(np.array([7]), np.array([500]))[0]
    assert set(components(1000, *found.linked())) == {0}


def test_the_order_of_rungs_follows_from_their_names_alone() -> None:
    names = ("image+near-text", "near-text", "image", "image+text", "bytes+near-text", "bytes+text", "image+text+phash")
    strongest_first = (
        *("bytes+text", "bytes+near-text", "phash+image+text", "image+text", "image+near-text", "image", "near-text"),
    )
    for turn in range(len(names)):
        settings = DedupSettings(rungs=(*names[turn:], *names[:turn]))
        assert rungs_of(settings, an_identity()) == strongest_first


@pytest.mark.parametrize("rung", ["bytes", "image+text", " near-text + image", "smell", "image+", "image text", ""])
def test_a_form_knows_the_rungs_that_the_settings_accept(rung: str) -> None:
    pattern = DedupSettings.model_json_schema()["properties"]["rungs"]["items"]["pattern"]
    try:
        accepted = bool(DedupSettings(rungs=(rung,)))
    except ValueError:
        accepted = False
    assert bool(re.search(pattern, rung)) == accepted


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_pairs_are_read_whatever_ends_their_lines(tmp_path: Path, end: str, delimiter: str) -> None:
    file = tmp_path / "pairs"
    file.write_text(end.join([f"a{delimiter}b", f"红{delimiter}c", ""]), newline="")
    table = read_never(str(file))
    assert table is not None
    assert table.to_pylist() == [{"id": "a", "other": "b"}, {"id": "红", "other": "c"}]
    names = ["distance", "Other", "ID"]
    file.write_text(end.join([delimiter.join(names), f"0.1{delimiter}b{delimiter}a", ""]), newline="")
    named = read_never(str(file))
    assert named is not None
    assert named.to_pylist() == [{"id": "a", "other": "b"}]
    file.write_text(f"a{delimiter}b\n{'x' * 200_000}{delimiter}c")
    limit = csv.field_size_limit(2**17)  # the reader of CSV sources raises it for its process
    try:
        with pytest.raises(ConfigError, match=r"pairs, line 2: field larger"):
            read_never(str(file))
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize(
    "other",
    [
        *(
            "红色\u200b连衣裙 a1",
            "\ufeff红色连衣裙 a1\u2060",
            "红色连衣裙\v\x85\u3000a1",
            "红\u00ad色连衣裙 ａ１",
            "红色\u202e连衣裙\x00 a1",
        ),
        *("红色连衣裙\u200d \ufe0f a1", "红色连衣裙 \u200b a1", "\u3164红色连衣裙 a1\x1f"),
    ],
)
def test_texts_that_look_alike_are_equal(other: str) -> None:
    assert normalised(pa.chunked_array([[other, None]])).to_pylist() == ["红色连衣裙 a1", None]


@pytest.mark.parametrize(
    ("one", "other"), [("红 色", "红色"), ("a1", "A1"), ("\U0001f3f4\U000e0067\U000e007f", "\U0001f3f4")]
)
def test_texts_that_look_different_are_not_equal(one: str, other: str) -> None:
    assert len(set(normalised(pa.chunked_array([[one, other]])).to_pylist())) == 2
