"""The signals of pictures, compared with slow implementations of their definitions, and on pictures with known ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from pipeline.images.measures.signals import DARK, LIGHT
from pipeline.images.measures.signals import measure as measure_all
from pipeline.vocabulary import Signal


def measure(picture: np.ndarray, wanted: Iterable[Signal]) -> dict[Signal, float]:
    """The signals of one picture."""
    return {signal: values[0] for signal, values in measure_all(picture[None], wanted).items()}


def pixels(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(image.convert("RGB"))


def photo(side: int = 224, detail: int = 40) -> Image.Image:
    coarse = np.random.default_rng(7).integers(0, 256, (detail, detail, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def framed(inside: tuple[int, int, int, int], colour: str = "white", noise: int = 0) -> np.ndarray:
    """A photo in a box, on a background that a JPEG may have made uneven."""
    image = Image.new("RGB", (224, 224), colour)
    image.paste(photo().crop(inside), inside[:2])
    found = pixels(image)
    uneven = np.random.default_rng(1).integers(0, noise + 1, found.shape, dtype=np.uint8)
    return np.where(found == 255, found - uneven, found)


def slowly(found: np.ndarray) -> dict[Signal, float]:
    """The definitions, pixel by pixel, for sides that are multiples of 112."""
    side = len(found)
    step = side // 56
    rows = found[::step].astype(int)
    cells = np.zeros((56, 56), int)
    for y in range(56):
        for x in range(56):
            red, green, blue = rows[y, x * step : (x + 1) * step].mean(axis=0)
            cells[y, x] = math.floor((77 * red + 150 * green + 29 * blue) / 256 + 0.5)
    green = found[:: side // 112, :: side // 112, 1].astype(int)
    edges = 4 * green[1:-1, 1:-1] - green[:-2, 1:-1] - green[2:, 1:-1] - green[1:-1, :-2] - green[1:-1, 2:]
    shares = np.unique(cells, return_counts=True)[1] / cells.size
    red, green, blue = np.moveaxis(rows[2::4], 2, 0)
    opponents = np.stack([(red - green).ravel(), ((red + green) / 2 - blue).ravel()])
    return {
        Signal.SHARPNESS: float((edges**2).mean()),
        Signal.BRIGHTNESS: cells.mean() / 255,
        Signal.CONTRAST: cells.std() / 255,
        Signal.DARK: (cells < DARK).mean(),
        Signal.LIGHT: (cells > LIGHT).mean(),
        Signal.ENTROPY: -(shares * np.log2(shares)).sum(),
        Signal.BORDER: 0.0,
        Signal.COLORFULNESS: math.hypot(*opponents.std(axis=1)) + 0.3 * math.hypot(*opponents.mean(axis=1)),
    }


@pytest.mark.parametrize("side", [224, 336])
def test_signals_are_what_their_definitions_say(side: int) -> None:
    found = pixels(photo(side))
    assert measure(found, Signal) == pytest.approx(slowly(found), rel=1e-5)
    for signal in Signal:  # asked for alone
        assert measure(found, [signal]) == {signal: measure(found, Signal)[signal]}


def test_other_sizes_of_models_give_about_the_same() -> None:
    usual, other = measure(pixels(photo()), Signal), measure(pixels(photo().resize((288, 288))), Signal)
    for signal in set(Signal) - {Signal.SHARPNESS, Signal.COLORFULNESS}:
        assert other[signal] == pytest.approx(usual[signal], abs=0.05 * (8 if signal == Signal.ENTROPY else 1))
    assert all(math.isfinite(value) for value in measure(pixels(photo(16)), Signal).values())


@pytest.mark.parametrize(
    ("colour", "brightness", "dark", "light"), [("black", 0, 1, 0), ("white", 1, 0, 1), ("#808080", 128 / 255, 0, 0)]
)
def test_a_picture_of_one_colour_has_no_information(colour: str, brightness: float, dark: float, light: float) -> None:
    found = measure(pixels(Image.new("RGB", (224, 224), colour)), Signal)
    assert (found[Signal.BRIGHTNESS], found[Signal.DARK], found[Signal.LIGHT]) == (brightness, dark, light)
    assert [found[signal] for signal in (Signal.SHARPNESS, Signal.CONTRAST, Signal.ENTROPY, Signal.BORDER)] == [
        0, 0, 0, 1,
    ]  # fmt: skip
    assert found[Signal.COLORFULNESS] == 0


@pytest.mark.parametrize(
    ("inside", "colour", "noise", "border"),
    [
        ((56, 56, 168, 168), "white", 0, 3 / 4),
        ((56, 56, 168, 168), "white", 6, 3 / 4),
        ((0, 28, 224, 196), "black", 0, 1 / 4),
        ((40, 0, 224, 224), "white", 0, 10 / 56),
        ((0, 0, 224, 224), "white", 0, 0),
    ],
)
def test_a_border_is_what_lies_around_the_smallest_box(
    inside: tuple[int, int, int, int], colour: str, noise: int, border: float
) -> None:
    assert measure(framed(inside, colour, noise), [Signal.BORDER])[Signal.BORDER] == pytest.approx(border, abs=0.02)


def test_blur_lowers_sharpness_and_a_grey_picture_has_no_colour() -> None:
    blurred = [photo(detail=110).filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4)]
    found = [measure(pixels(image), [Signal.SHARPNESS])[Signal.SHARPNESS] for image in blurred]
    assert all(one > 2 * next_ for one, next_ in pairwise(found))
    assert measure(pixels(photo().convert("L")), [Signal.COLORFULNESS]) == {Signal.COLORFULNESS: 0}
    drawing = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(drawing).ellipse((60, 60, 160, 160), fill="red")
    assert measure(pixels(drawing), [Signal.COLORFULNESS])[Signal.COLORFULNESS] > 20


@pytest.mark.parametrize("side", [224, 336, 90])
def test_a_picture_has_the_same_signals_among_others(side: int) -> None:
    some = [photo(side), photo(side, 3), photo(side).convert("L"), Image.new("RGB", (side, side), "white")]
    batch = np.stack([pixels(image) for image in some * 5])
    batch[::3] //= 2
    found = measure_all(batch, Signal)
    assert [{signal: values[n] for signal, values in found.items()} for n in range(len(batch))] == [
        measure(one, Signal) for one in batch
    ]
