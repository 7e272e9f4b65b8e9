"""Validation of user-supplied values: errors name every wrong key and never repeat a value."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError, RunError
from pipeline.validation import AutoOrNumber, validated


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(default=1, ge=1)
    name: str = ""


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()


def test_a_tree_and_json_are_parsed_into_the_model():
    assert validated(Outer, {"inner": {"size": 3}}, "x") == Outer(inner=Inner(size=3))
    assert validated(list[int], b"[1, 2]", "x") == [1, 2]


def test_every_wrong_key_is_named():
    tree = {"inner": {"size": 0, "nam": "secret", "other": 1}, "several": [{"sise": 1}]}
    with pytest.raises(ConfigError) as caught:
        validated(Outer, tree, "It is not valid", cure="Mend it.")
    assert str(caught.value).splitlines() == [
        "It is not valid:",
        "  inner.size: Input should be greater than or equal to 1",
        "  inner.nam: no such key; did you mean name?",
        "  inner.other: no such key; there are size, name",
        "  several.0.sise: no such key",
        "Mend it.",
    ]


def test_the_caller_chooses_the_error_class_and_the_key_labels():
    with pytest.raises(RunError, match=r"^Damaged:\n  --inner-size: Input should be"):
        validated(Outer, {"inner": {"size": 0}}, "Damaged", error=RunError, label=lambda path: f"--{'-'.join(path)}")


def test_a_message_lists_a_limited_number_of_errors():
    with pytest.raises(ConfigError) as caught:
        validated(list[int], ["x"] * 1000, "It is not valid")
    assert len(str(caught.value).splitlines()) == 22
    assert str(caught.value).endswith("... and 980 more")


def test_a_number_of_actors_may_be_auto_which_earlier_versions_wrote_as_null():
    assert [validated(AutoOrNumber, value, "x") for value in ("auto", None, 3, "3")] == ["auto", "auto", 3, 3]
    for wrong in (0, 2.5, "three"):
        with pytest.raises(ConfigError, match="give auto, or a whole number of at least 1"):
            validated(AutoOrNumber, wrong, "x")
