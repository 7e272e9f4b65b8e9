"""JPEGs give the same pixels and the same reasons whichever of the two decoders takes them."""

from __future__ import annotations

import io
import logging
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images import decode as decoding
from pipeline.images import jpeg
from pipeline.images.decode import decode
from pipeline.images.jpeg import fast_levels
from pipeline.images.resizing import squash
from tests.fixtures.pictures import noise

LIMIT = 10**8
_YCBCR_LAYERS = b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"


def encoded(mode: str = "RGB", width: int = 61, height: int = 47, **options: Any) -> bytes:
    file = io.BytesIO()
    noise(mode, width, height).save(file, "JPEG", **{"quality": 80, **options})
    return file.getvalue()


def adobe(transform: int) -> bytes:
    """An ordinary file with Adobe's marker."""
    data = encoded()
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + data[2:]


def layers(changed: bytes) -> bytes:
    """A file whose header has these numbers, identifiers and samplings of components."""
    data = encoded()
    assert data.count(_YCBCR_LAYERS) == 1
    return data.replace(_YCBCR_LAYERS, changed)


ORDINARY = {
    "4:4:4": encoded(subsampling=0),
    "4:2:2": encoded(subsampling=1),
    "4:2:0": encoded(subsampling=2),
    "progressive": encoded(progressive=True),
    "restart markers": encoded(restart_marker_blocks=2),
    "grey": encoded("L"),
    "grey, progressive": encoded("L", progressive=True),
    "best quality": encoded(quality=100),
    "Adobe's YCbCr": adobe(1),
    "bytes behind the end": encoded() + b"more",
}
UNUSUAL = {
    "CMYK": encoded("CMYK"),
    "RGB by Adobe's marker": adobe(0),
    "unknown by Adobe's marker": adobe(2),
    "RGB by names": layers(b"\x03R\x11\x00G\x11\x01B\x11\x01"),
    "other names": layers(b"\x03\x00\x22\x00\x01\x11\x01\x02\x11\x01"),
    "4 x 2": layers(b"\x03\x01\x42\x00\x02\x11\x01\x03\x11\x01"),
    "3 x 1": layers(b"\x03\x01\x31\x00\x02\x11\x01\x03\x11\x01"),
    "second component sampled": layers(b"\x03\x01\x22\x00\x02\x21\x01\x03\x11\x01"),
}


def faults() -> dict[str, bytes]:
    """Files that libjpeg refuses or warns about, with and without an end marker."""
    whole, progressive = encoded(restart_marker_blocks=2), encoded(progressive=True)
    scan = whole.index(b"\xff\xda") + 40
    return {
        "cut": whole[:-300],
        "cut and ended": whole[:-300] + b"\xff\xd9",
        "no end marker": whole[:-2],
        "progressive, cut": progressive[: len(progressive) // 2],
        "progressive, cut and ended": progressive[: len(progressive) // 2] + b"\xff\xd9",
        "zeroed": whole[:scan] + bytes(200) + whole[scan + 200 :],
        "no restart marker": whole.replace(b"\xff\xd1", b"", 1),
        "bytes before a marker": whole.replace(b"\xff\xd2", b"\x00\x11\xff\xd2", 1),
        "one bit": whole[:scan] + bytes([whole[scan] ^ 8]) + whole[scan + 1 :],
        "no tables": whole.replace(b"\xff\xc4", b"\xff\xe9"),
        "height 0": whole.replace(b"\x08\x00\x2f\x00\x3d", b"\x08\x00\x00\x00\x3d"),
        "header without components": whole.replace(b"\xff\xc0\x00\x11", b"\xff\xc0\x00\x08"),
        "12 bits": whole.replace(b"\x08\x00\x2f\x00\x3d", b"\x0c\x00\x2f\x00\x3d"),
        "taller than its data": whole.replace(b"\x08\x00\x2f\x00\x3d", b"\x08\x00\x6f\x00\x3d"),
    }


#: Compiled once.
kernels = cache(squash.started_kernels)


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels run, as after two megapixels; without them Pillow decodes everything."""
    late = squash._LateKernels()
    late._left, late._kernels = 0, kernels()
    monkeypatch.setattr(squash, "_fast", late)


def outcome(data: bytes) -> tuple[Any, ...]:
    try:
        found = decode(data, 24, LIMIT)
    except ImageError as error:
        return error.reason, error.detail
    return found.width, found.height, found.pixels_xxh128(), found.pixels.shape


def by_pillow(data: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    with monkeypatch.context() as without:
        without.setattr(decoding, "fast_levels", lambda *_: None)
        return outcome(data)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_files_are_decoded_to_pillows_pixels(name: str) -> None:
    with Image.open(io.BytesIO(ORDINARY[name])) as image:
        levels = fast_levels(image, ORDINARY[name])
        assert levels is not None
        np.testing.assert_array_equal(levels, np.asarray(image).reshape(levels.shape))


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_files_are_left_to_pillow(name: str) -> None:
    with Image.open(io.BytesIO(UNUSUAL[name])) as image:
        assert fast_levels(image, UNUSUAL[name]) is None


@pytest.mark.parametrize("data", [*ORDINARY.values(), *UNUSUAL.values()], ids=[*ORDINARY, *UNUSUAL])
def test_rows_do_not_depend_on_the_decoder(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(data) == by_pillow(data, monkeypatch)


@pytest.mark.parametrize("name", faults())
def test_reasons_do_not_depend_on_the_decoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = faults()[name]
    assert data != encoded(restart_marker_blocks=2)
    assert outcome(data) == by_pillow(data, monkeypatch)


def test_changed_bytes_give_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    data = encoded(width=40, height=33)
    for at, level in zip(rng.integers(2, len(data), 150), rng.integers(0, 256, 150), strict=True):
        changed = data[:at] + bytes([level]) + data[at + 1 :]
        assert outcome(changed) == by_pillow(changed, monkeypatch), (at, level)


def test_a_decoder_that_gives_other_pixels_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *_, **__: np.zeros((37, 45, 3), np.uint8))
    with caplog.at_level(logging.WARNING):
        assert jpeg.fast_decoder.__wrapped__() is None
    assert "gives other pixels" in caplog.text


def test_without_simplejpeg_pillow_decodes_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jpeg, "_PACKAGE", "not_installed_here")
    assert jpeg.fast_decoder.__wrapped__() is None
    assert caplog.text == ""
