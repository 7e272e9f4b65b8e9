"""Pickled pairs are parsed without unpickling, with memory bounded by the size of the data."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.chinese_clip.pickled_pair import LmdbPair, parse_pair

PROTO_4, STOP = b"\x80\x04", b"."
TIB = (2**40).to_bytes(8, "little")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        (12, 1, "红色  连衣裙"),
        ("a", "7", ""),
        (-1, 2**70, "x" * 300),
        (255, 256, "红" * 30_000),
        (65_535, 65_536, "\0"),
    ],
)
def test_every_pickle_protocol_is_parsed(protocol: int, value: tuple[Any, Any, str]) -> None:
    assert parse_pair(pickle.dumps(value, protocol)) == LmdbPair(*map(str, value))


class Harmful:
    """Creates a folder if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickled_code_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (Harmful(), (12, 1, Harmful()), (Harmful(), 1, "a")):
        with pytest.raises(ValueError, match="it is not a tuple of image_id, text_id and text"):
            parse_pair(pickle.dumps(value, protocol))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opcode", [b"\x8d", b"\x8e", b"\x96"], ids=["text", "bytes", "bytearray"])
def test_a_declared_length_of_a_tebibyte_is_refused(opcode: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected 1099511627776 bytes"):
        parse_pair(PROTO_4 + opcode + TIB + b"abc" + STOP)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PROTO_4,
        STOP,
        pickle.dumps((12, 1)),
        pickle.dumps((12, 1, "a", "b")),
        pickle.dumps([12, 1, "a"]),
        pickle.dumps((12, 1, 2)),
        pickle.dumps((1.5, 1, "a")),
        pickle.dumps((True, 1, "a")),
        pickle.dumps((b"a", 1, "a")),
        pickle.dumps((12, 1, "a")) + b"x",
        pickle.dumps((12, 1, "a"))[:-1],
        pickle.dumps((12, 1, "half a pair: \ud800")),
        PROTO_4 + b"K\x01K\x02\x8c\x01\xff\x87" + STOP,
    ],
)
def test_data_other_than_a_pair_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        parse_pair(data)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: PROTO_4 + data + STOP))
def test_arbitrary_bytes_raise_only_value_errors(data: bytes) -> None:
    with suppress(ValueError):
        parse_pair(data)
