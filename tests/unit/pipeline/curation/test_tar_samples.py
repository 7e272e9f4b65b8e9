"""Test the members of a WebDataset sample."""

from __future__ import annotations

import json

import pytest

from pipeline.curation.tars.sample import members_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.mark.parametrize(
    ("image_name", "text", "members"),
    [
        (None, "红", {"a.png": PNG, "a.txt": "红".encode()}),
        (None, None, {"a.png": PNG}),
        ("jpg", "红", {"a.jpg": PNG, "a.txt": "红".encode()}),
        ("jpg", None, {"a.jpg": PNG, "a.txt": b""}),
    ],
)
def test_one_image_name_gives_all_samples_the_same_members(image_name, text, members):
    found = dict(members_of({"id": "a", "text": text}, [], PNG, image_name))
    assert json.loads(found.pop("a.json")) == {"hanclip": {"id": "a"}}
    assert found == members


def test_a_column_called_hanclip_is_kept():
    row = {"id": "a", "hanclip": {"id": "b"}, "source_hanclip": 1}
    [(_, content)] = members_of(row, ["hanclip", "source_hanclip"], None, None)
    assert json.loads(content) == {
        "source_source_hanclip": {"id": "b"},
        "source_hanclip": 1,
        "hanclip": {"id": "a"},
    }
