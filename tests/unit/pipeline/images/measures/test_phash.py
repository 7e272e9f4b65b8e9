"""The perceptual hash: close for versions of one picture, distant for different pictures."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decode import decode
from pipeline.images.measures.phash import phash


def scene(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """Coloured rectangles on a colour gradient."""
    rng = np.random.default_rng(seed)
    background = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize((width, height), 3)
    for _ in range(8):
        left, top = int(rng.integers(0, width - 60)), int(rng.integers(0, height - 60))
        box = (left, top, left + int(rng.integers(40, 300)), top + int(rng.integers(40, 300)))
        background.paste(tuple(int(c) for c in rng.integers(0, 256, 3)), box)
    return background


def hashed(image: Image.Image, kind: str = "PNG", size: int = 224, **options: object) -> int:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode(buffer.getvalue(), size, 10**8).phash()


def hamming(first: int, second: int) -> int:
    """Number of bits in which two hashes differ."""
    return (first ^ second).bit_count()


@pytest.mark.parametrize("seed", range(12))
def test_reencoding_and_resizing_keep_the_hash_close(seed: int) -> None:
    image = scene(seed)
    first = hashed(image)
    assert hamming(first, hashed(image, "JPEG", quality=40)) <= 8
    assert hamming(first, hashed(image, "WEBP", quality=50)) <= 8
    assert hamming(first, hashed(image.resize((200, 150)), "JPEG", quality=80)) <= 8
    assert hamming(first, hashed(image.convert("L"))) <= 8
    assert hamming(first, hashed(image, size=336)) <= 8


def test_different_pictures_have_distant_hashes() -> None:
    hashes = [hashed(scene(seed)) for seed in range(20)]
    distances = [hamming(a, b) for a, b in itertools.combinations(hashes, 2)]
    assert min(distances) > 12
    assert 26 < np.mean(distances) < 36


def test_a_flat_picture_keeps_its_hash_as_jpeg() -> None:
    flat = Image.new("RGB", (300, 200), (201, 180, 77))
    assert hashed(flat) == hashed(flat, "JPEG", quality=30) == 1 << 63
    assert hashed(Image.new("L", (50, 50), 0)) == 0


def test_the_hash_equals_its_definition() -> None:
    pixels = np.asarray(scene(3).resize((64, 64)))
    grey = (pixels @ [0.299, 0.587, 0.114]).reshape(32, 2, 32, 2).mean(axis=(1, 3))
    waves = np.array([[np.cos(np.pi * k * (2 * i + 1) / 64) for i in range(32)] for k in range(8)]) / 4
    waves[0] /= np.sqrt(2)
    coefficients = np.rint(waves @ grey @ waves.T).ravel()
    bits = coefficients > np.median(coefficients[1:])
    assert phash(pixels) == int("".join("1" if bit else "0" for bit in bits), 2)


@pytest.mark.parametrize("size", [16, 32, 33, 48, 224, 336])
def test_every_model_size_is_hashed(size: int) -> None:
    pixels = np.asarray(scene(5).resize((size, size)))
    assert hamming(phash(pixels), hashed(scene(5))) <= (20 if size == 16 else 8)
