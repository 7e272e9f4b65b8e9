from __future__ import annotations

from typing import Any

import pytest

from flows.deployments.merging import ABSENT, differences, merge


@pytest.mark.parametrize(
    ("deployed", "held", "new", "merged"),
    [
        pytest.param(1, 1, 2, 2, id="untouched takes the new default"),
        pytest.param(1, 3, 2, 3, id="changed stays"),
        pytest.param(ABSENT, 3, 2, 3, id="unknown history stays"),
        pytest.param({"a": 1}, {"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, id="new key"),
        pytest.param({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1}, id="key that the code dropped"),
        pytest.param({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1}, {"a": 1, "b": 3}, id="dropped, but changed"),
        pytest.param({"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2}, {"a": 1}, id="key that the operator removed"),
        pytest.param(ABSENT, {"a": 1}, {"b": 2}, {"b": 2, "a": 1}, id="unknown history, new key"),
        pytest.param({"f": None}, {"f": {"where": "keep"}}, {"f": None}, {"f": {"where": "keep"}}, id="null replaced"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, {"a": [3]}, {"a": [1, 2]}, id="a list is one value"),
        pytest.param({"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": 1}}, {"a": {"b": 1, "c": 3}},
                     {"a": {"b": 2, "c": 3}}, id="nested"),
    ],
)  # fmt: skip
def test_three_way_merge(deployed: Any, held: Any, new: Any, merged: Any) -> None:
    assert merge(deployed, held, new) == merged
    assert merge(new, merged, new) == merged, "the next deploy changes nothing"


def test_differences_name_paths_without_values() -> None:
    held = {"config": {"uri": "s3://mine", "same": 1}, "extra": 1}
    assert list(differences(held, {"config": {"uri": "s3://theirs", "same": 1}})) == ["config.uri", "extra"]
