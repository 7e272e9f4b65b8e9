"""Bodies and images that are made to hurt: slow ones, bombs, and what costs more memory than it has bytes."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import io
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import ApiKey, Keyring, digest
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.border import arrivals
from pipeline.serving.errors import ApiError
from tests.fixtures.serving import a_picture, an_app, asking, base64_of


def ask(content: Any, app: Any = None) -> Any:
    """The answer to a body in bytes, or in pieces."""

    async def run() -> Any:
        async with asking(app or an_app()) as client:
            return await client.post("/v1/embeddings", content=content)

    return asyncio.run(run())


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def pieces(body: bytes, size: int, pause_s: float) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(pause_s)


def test_a_body_that_drips_is_refused_and_a_large_one_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "BODY_S", 0.05)
    app = an_app()
    drip = ask(pieces(b'{"input": "a"}', 1, 0.03), app)
    assert code(drip) == (408, "timed_out")
    assert app.state.server.desk.in_flight == app.state.server.desk.bodies.used == 0
    large = json.dumps({"input": ["a" * 40_000] * 4}).encode()
    assert ask(pieces(large, 2**15, 0.03)).status_code == 200


def test_a_body_that_has_held_most_for_longest_gives_way_and_short_ones_always_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "YIELDS_AFTER_S", 0.1)
    app = an_app(max_body_bytes=2**20, max_bodies_bytes=2**20)
    large = json.dumps({"input": ["a" * 40_000] * 20}).encode()

    async def stalled() -> AsyncIterator[bytes]:
        yield large[:-1]
        await asyncio.sleep(30)

    async def run() -> None:
        async with asking(app) as client:
            slow = asyncio.ensure_future(client.post("/v1/embeddings", content=stalled()))
            while not app.state.server.desk.bodies.used:
                await asyncio.sleep(0.01)
            assert code(await client.post("/v1/embeddings", content=large)) == (503, "overloaded")
            assert (await client.post("/v1/embeddings", json={"input": "a"})).status_code == 200
            await asyncio.sleep(0.1)
            assert (await client.post("/v1/embeddings", content=large)).status_code == 200
            assert code(await slow) == (408, "timed_out")
        assert app.state.server.desk.bodies.used == 0

    asyncio.run(run())


@pytest.mark.parametrize("item", ["[]", "{}", "0.5"])
def test_a_body_of_very_many_values_is_refused_before_it_takes_memory(item: str) -> None:
    answer = ask(f'{{"input": [{",".join([item] * 2_000_000)}]}}'.encode())
    assert (code(answer), answer.json()["error"]["param"]) == ((400, "too_many_inputs"), None)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_with(kind: bytes, data: bytes) -> bytes:
    """A small PNG with one more chunk behind its header."""
    plain = a_picture()
    return plain[:33] + _chunk(kind, data) + plain[33:]


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(20_000_000))
    return file.getvalue()


#: 20 MB of zeros, which a decoder must not unpack into memory.
_ZEROS = zlib.compress(bytes(20_000_000))
BOMBS = {
    "text": _png_with(b"zTXt", b"k\0\0" + _ZEROS),
    "profile": _png_with(b"iCCP", b"k\0\0" + _ZEROS),
    "zip": _zip(),
    "gzip": gzip.compress(bytes(20_000_000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_compressed_is_not_unpacked_without_a_limit(name: str) -> None:
    answer = ask(json.dumps({"input": {"image": base64_of(BOMBS[name])}}).encode())
    assert code(answer)[0] == 400


def test_a_compressed_body_is_not_unpacked() -> None:
    assert code(ask(gzip.compress(b'{"input": "a"}'))) == (400, "not_json")


def compared(gate: Gate, key: str) -> int:
    """With how many stored keys the gate compares this one in constant time. Counted: a timed test fails under load."""
    calls = 0

    def note(frame: FrameType, event: str, called: object) -> None:
        nonlocal calls
        calls += event == "c_call" and called is hmac.compare_digest

    sys.setprofile(note)
    try:
        with suppress(ApiError):
            gate.admit({"authorization": f"Bearer {key}"})
    finally:
        sys.setprofile(None)
    return calls


def test_every_key_is_compared_with_all_stored_keys_in_constant_time() -> None:
    near = digest("near")
    stored = [near[:-1] + ("0" if near[-1] != "0" else "1"), *(digest(f"key-{number}") for number in range(200))]
    keys = tuple(ApiKey(f"k{number}", sha256) for number, sha256 in enumerate(stored))
    gate = Gate(Keyring(lambda: keys), KeyRates(None))
    assert {compared(gate, name) for name in ("near", "far", "key-0", "key-199")} == {len(keys)}
