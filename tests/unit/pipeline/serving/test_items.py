"""The one parser of images and texts."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pipeline.serving.errors import ApiError
from pipeline.serving.inputs.items import Image, ItemParser, Text
from pipeline.serving.settings import RequestLimits

BYTES = b"picture"
ENCODED = base64.b64encode(BYTES).decode()
URI = f"data:image/jpeg;base64,{ENCODED}"


@pytest.fixture
def parser() -> ItemParser:
    return ItemParser(RequestLimits(max_images=2, max_texts=3, max_image_bytes=100, max_text_chars=40))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("一只猫", Text("input", "一只猫")),
        ("https://img.example/a.jpg", Text("input", "https://img.example/a.jpg")),
        ({"text": "猫"}, Text("input", "猫")),
        ({"type": "text", "text": "猫"}, Text("input", "猫")),
        ({"type": "image_url", "image_url": {"url": URI, "detail": "low"}}, Image("input", BYTES)),
        ({"type": "input_image", "image_url": URI}, Image("input", BYTES)),
        ({"image": ENCODED}, Image("input", BYTES)),
        ({"image": f" {ENCODED[:4]}\n{ENCODED[4:]}"}, Image("input", BYTES)),
        ({"image": "HTTPS://img.example/a.jpg"}, Image("input", url="HTTPS://img.example/a.jpg")),
        ({"image": URI.replace("data:", "DATA:")}, Image("input", BYTES)),
        ({"image": URI, "text": None}, Image("input", BYTES)),
    ],
)
def test_the_spellings_of_an_item(value: Any, expected: Any, parser: ItemParser) -> None:
    assert parser.items(value, "input") == [expected]


def test_plain_strings_are_images_where_the_request_says_so(parser: ItemParser) -> None:
    assert parser.items([URI, "http://h/i"], "input", "image") == [
        Image("input[0]", BYTES),
        Image("input[1]", url="http://h/i"),
    ]


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        ([], "invalid_request", "input"),
        ([1, 2], "token_ids_not_supported", "input"),
        ([[1, 2], [3]], "token_ids_not_supported", "input"),
        ([[]], "invalid_request", "input[0]"),
        (7, "token_ids_not_supported", "input"),
        (None, "invalid_request", "input"),
        (["a", True], "invalid_request", "input[1]"),
        (["a", ["b"]], "invalid_request", "input[1]"),
        ({}, "invalid_request", "input"),
        ({"text": "a", "image": URI}, "invalid_request", "input"),
        ({"image": URI, "image_url": URI}, "invalid_request", "input"),
        ({"text": 3}, "invalid_request", "input.text"),
        ({"image_url": {"url": ["x"]}}, "invalid_request", "input.image_url"),
        (["a"] * 4, "too_many_inputs", "input"),
        ([{"image": URI}] * 3, "too_many_inputs", "input"),
        (["a", " \u200b"], "empty_text", "input[1]"),
        ("a\ud800", "bad_text", "input"),
        ("a" * 41, "too_large", "input"),
        (URI, "image_given_as_text", "input"),
        ({"image": "!!"}, "bad_base64", "input"),
        ({"image": ENCODED[:-1]}, "bad_base64", "input"),
        ({"image": "图"}, "bad_base64", "input"),
        ({"image": "data:image/png,abc"}, "bad_base64", "input"),
        ({"image": "data:" + ";" * 5000}, "bad_base64", "input"),
        ({"image": base64.b64encode(b"x" * 101).decode()}, "too_large", "input"),
        ({"image": "A" * 1000}, "too_large", "input"),
        ({"image": "file:///etc/passwd"}, "scheme_not_allowed", "input"),
        ({"image": "s3://bucket/key"}, "scheme_not_allowed", "input"),
        ({"image": "http:/etc/passwd"}, "bad_uri", "input"),
        ({"image": "HTTPS:/../../etc/passwd"}, "bad_uri", "input"),
        ({"image": "http:"}, "bad_uri", "input"),
        ({"image": f"http://img.example/{'a' * 8192}"}, "too_large", "input"),
        ({"image": "/etc/passwd"}, "bad_base64", "input"),
    ],
)
def test_what_is_refused_names_the_item(value: Any, code: str, param: str, parser: ItemParser) -> None:
    with pytest.raises(ApiError) as refused:
        parser.items(value, "input")
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, code, param)
    assert str(refused.value).endswith(".")


def test_a_lenient_parser_returns_errors_in_their_places() -> None:
    first, second = ItemParser(RequestLimits(), lenient=True).items(["a", {"image": "!!"}], "input")
    assert first == Text("input[0]", "a")
    assert isinstance(second, ApiError)


def test_images_and_texts_are_not_taken_for_each_other(parser: ItemParser) -> None:
    with pytest.raises(ApiError, match="of kind text") as refused:
        parser.images({"text": "a"}, "images")
    assert refused.value.param == "images"
    with pytest.raises(ApiError, match="of kind image"):
        parser.texts([{"image": URI}], "texts")


def test_a_limit_is_of_all_fields_of_a_request_together(parser: ItemParser) -> None:
    parser.items(["a", {"image": URI}], "queries")
    with pytest.raises(ApiError, match="documents has 4 texts with those before it, more than 3") as refused:
        parser.items(["a", "b", "c"], "documents")
    assert (refused.value.code, refused.value.param) == ("too_many_inputs", "documents")
    with pytest.raises(ApiError, match="3 images"):
        parser.items([{"image": URI}] * 2, "documents")
