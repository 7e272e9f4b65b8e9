"""Image decoding, compared value by value with transformers' processor, and the handling of bad images."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image

from pipeline.errors import ImageError
from pipeline.images.decode import decode
from pipeline.images.preprocessing import CLIP_MEAN, CLIP_STD
from pipeline.vocabulary import Reason

LIMIT = 100_000_000


@cache
def processor(**options: bool) -> Any:
    """transformers' processor; imported here because the import takes seconds."""
    from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil

    return ChineseCLIPImageProcessorPil(size={"height": 224, "width": 224}, do_center_crop=False, **options)


def picture(mode: str = "RGB", width: int = 300, height: int = 200, seed: int = 0) -> Image.Image:
    """Smooth colour gradients in any mode; alpha covers all values."""
    rng = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands()) if mode not in ("P", "1") else 3
    coarse = rng.integers(0, 256, (9, 12, bands), dtype=np.uint8)
    merged = [Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BICUBIC) for i in range(bands)]
    if mode == "P":
        return Image.merge("RGB", merged).quantize(64)
    if mode == "1":
        return merged[0].convert("1")
    return merged[0] if bands == 1 else Image.merge(mode, merged)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return decode(data, 224, LIMIT).pixels


def reference(data: bytes) -> np.ndarray:
    """The same bytes processed by transformers, before rescaling: (224, 224, 3) uint8."""
    raw = processor(do_rescale=False, do_normalize=False)
    found = raw(Image.open(io.BytesIO(data)), return_tensors="np")["pixel_values"][0]
    assert found.min() >= 0
    return np.moveaxis(found, 0, -1).astype(np.uint8)


def reason(data: bytes, max_pixels: int = LIMIT) -> Reason:
    with pytest.raises(ImageError) as caught:
        decode(data, 224, max_pixels)
    return caught.value.reason


SAME_AS_REFERENCE = {
    "RGB JPEG": lambda: encoded(picture(), "JPEG", quality=90),
    "RGB JPEG 4:4:4 progressive": lambda: encoded(picture(), "JPEG", subsampling=0, progressive=True),
    "grey JPEG": lambda: encoded(picture("L"), "JPEG"),
    "RGB PNG": lambda: encoded(picture()),
    "grey PNG": lambda: encoded(picture("L")),
    "palette PNG": lambda: encoded(picture("P")),
    "palette PNG, one colour transparent": lambda: encoded(picture("P"), transparency=3),
    "palette PNG, many half transparent": lambda: encoded(picture("P"), transparency=bytes(range(0, 256, 4))),
    "RGBA PNG": lambda: encoded(picture("RGBA")),
    "LA PNG": lambda: encoded(picture("LA")),
    "RGBA, opaque": lambda: encoded(picture().convert("RGBA")),
    "RGB PNG, one colour transparent": lambda: encoded(picture().quantize(8).convert("RGB"), transparency=(0, 0, 0)),
    "grey PNG, one level transparent": lambda: encoded(picture("L"), transparency=120),
    "1-bit PNG": lambda: encoded(picture("1")),
    "1-bit TIFF": lambda: encoded(picture("1"), "TIFF", compression="group4"),
    "RGB BMP": lambda: encoded(picture(), "BMP"),
    "RGBA TIFF": lambda: encoded(picture("RGBA"), "TIFF"),
    "LAB TIFF": lambda: encoded(picture("LAB"), "TIFF"),
    "RGB WebP": lambda: encoded(picture(), "WEBP", lossless=True),
    "RGBA WebP": lambda: encoded(picture("RGBA"), "WEBP", quality=80),
    "RGB AVIF": lambda: encoded(picture(), "AVIF"),
    "RGB JPEG 2000": lambda: encoded(picture(), "JPEG2000"),
    "grey PPM": lambda: encoded(picture("L"), "PPM"),
    "palette GIF": lambda: encoded(picture("P"), "GIF"),
    "ICO": lambda: encoded(picture("RGBA", 64, 64), "ICO"),
    "one pixel": lambda: encoded(Image.new("RGB", (1, 1), (7, 80, 200))),
    "one pixel wide": lambda: encoded(picture("RGB", 1, 500)),
    "already 224": lambda: encoded(picture("RGB", 224, 224)),
    "upscaled": lambda: encoded(picture("RGB", 31, 17)),
    "long banner": lambda: encoded(picture("RGB", 3000, 20)),
}


@cache
def sample(name: str) -> bytes:
    """Encoded when a test asks for it: all of them take a second, also in processes that only collect this file."""
    return SAME_AS_REFERENCE[name]()


@pytest.mark.parametrize("name", SAME_AS_REFERENCE)
def test_pixels_equal_the_reference_bit_for_bit(name: str) -> None:
    data = sample(name)
    found = pixels(data)
    assert found.shape == (224, 224, 3)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, reference(data))


@pytest.mark.parametrize("name", ["RGB JPEG", "grey PNG", "RGBA PNG"])
def test_normalised_pixels_equal_the_reference(name: str) -> None:
    expected = processor()(Image.open(io.BytesIO(sample(name))), return_tensors="np")["pixel_values"][0]
    found = (pixels(sample(name)) / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    np.testing.assert_allclose(np.moveaxis(found, -1, 0), expected, rtol=0, atol=2e-6)


def black_plate() -> Image.Image:
    """A CMYK picture as for printing: black lines that knock out the colours."""
    image = picture("CMYK")
    for at in range(0, image.width, 11):
        image.paste((0, 0, 0, 255 - at % 90), (at, 0, at + 4, image.height))
    return image


@pytest.mark.parametrize(
    ("image", "kind"),
    [(picture("CMYK"), "JPEG"), (black_plate(), "JPEG"), (black_plate(), "TIFF"), (picture("YCbCr"), "TIFF")],
)
def test_other_modes_are_resized_and_then_converted_as_by_the_authors(image: Image.Image, kind: str) -> None:
    data = encoded(image, kind)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == image.mode
        in_source_mode = opened.resize((224, 224), Image.Resampling.BICUBIC).convert("RGB")
    np.testing.assert_array_equal(pixels(data), np.asarray(in_source_mode))


def test_a_black_plate_shows_the_difference_from_transformers() -> None:
    data = encoded(black_plate(), "TIFF")
    assert np.abs(pixels(data).astype(int) - reference(data)).max() > 20


def test_transparent_pixels_become_white_before_the_resize() -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (50, 0, 100, 100))
    found = pixels(encoded(image))
    assert found[100, 20].tolist() == [255, 255, 255]
    assert found[100, 200].tolist() == [0, 0, 255]
    assert (found[:, 60:160, 0] >= found[:, 60:160, 1]).all()  # white fades to blue: the hidden red shows nowhere
    assert (found[..., 0] == found[..., 1]).all()


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_rare_transparent_modes_become_white(mode: str) -> None:
    from pipeline.images.plain import plain

    image = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    rare = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode if mode == "RGBa" else "LA")
    rare = rare.convert("La") if mode == "La" else rare
    if mode == "PA":
        rare.putalpha(0)
    assert rare.mode == mode
    assert (np.asarray(plain(rare, b"")) == 255).all()


def gif_with_a_small_frame(**options: object) -> bytes:
    data = bytearray(encoded(Image.new("P", (8, 8), 1).convert("RGB").quantize(2), "GIF", **options))
    data[6:10] = b"\x10\0\x10\0"  # the canvas becomes 16 x 16
    frame = data.index(b",")
    data[frame + 1 : frame + 5] = b"\4\0\4\0"
    return bytes(data)


def webp_with_a_small_frame() -> bytes:
    """An animation of 16 x 16 without alpha, whose only frame covers 8 x 8 from (4, 4)."""

    def chunk(kind: bytes, contents: bytes) -> bytes:
        return kind + len(contents).to_bytes(4, "little") + contents + b"\0" * (len(contents) % 2)

    def numbers(*values: int) -> bytes:
        return b"".join(value.to_bytes(3, "little") for value in values)

    frame = encoded(Image.new("RGB", (8, 8), (9, 9, 9)), "WEBP", lossless=True)[12:]
    parts = chunk(b"VP8X", b"\2\0\0\0" + numbers(15, 15)) + chunk(b"ANIM", b"\0\0\0\xff\0\0")
    parts += chunk(b"ANMF", numbers(2, 2, 7, 7, 100) + b"\0" + frame)
    return b"RIFF" + (len(parts) + 4).to_bytes(4, "little") + b"WEBP" + parts


@pytest.mark.parametrize("data", [gif_with_a_small_frame(), webp_with_a_small_frame()], ids=["GIF", "WebP"])
def test_the_canvas_that_the_first_frame_leaves_open_is_white(data: bytes) -> None:
    found = decode(data, 16, LIMIT)
    assert (found.width, found.height) == (16, 16)
    outside = np.ones((16, 16), dtype=bool)
    outside[4:12, 4:12] = False
    assert (found.pixels[outside] == 255).all()
    assert (found.pixels[~outside] < 100).all()


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    levels = np.linspace(0, 65535, 224 * 224).reshape(224, 224).astype(np.uint16)
    expected = np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(levels))), expected)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(levels), "TIFF")), expected)
    pgm = b"P5 224 224 65535\n" + levels.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels(pgm), expected)


def test_the_transparent_level_of_a_16_bit_png_becomes_white() -> None:
    levels = np.full((224, 224), 1000, dtype=np.uint16)
    levels[:, :112] = 40000
    found = pixels(encoded(Image.fromarray(levels), transparency=1000))
    assert found[0, 0].tolist() == [156, 156, 156]
    assert found[0, 223].tolist() == [255, 255, 255]


@pytest.mark.parametrize("array", [np.ones((9, 9), np.float32), np.full((9, 9), 70000, np.int32), np.full((9, 9), -1)])
def test_pixels_without_a_defined_range_are_refused(array: np.ndarray) -> None:
    dtype = np.float32 if array.dtype == np.float32 else np.int32
    assert reason(encoded(Image.fromarray(array.astype(dtype)), "TIFF")) == Reason.UNSUPPORTED_MODE


def test_exif_rotation_is_not_applied() -> None:
    image = picture("RGB", 300, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(image, "JPEG", exif=exif)
    with Image.open(io.BytesIO(turned)) as opened:
        assert opened.getexif()[0x0112] == 6
    found = decode(turned, 224, LIMIT)
    np.testing.assert_array_equal(found.pixels, pixels(encoded(image, "JPEG")))
    assert (found.width, found.height) == (300, 200)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    frames = [picture(seed=seed).quantize(32).convert("RGB") for seed in (1, 2, 3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 3
    np.testing.assert_array_equal(pixels(data), reference(data))
    np.testing.assert_array_equal(pixels(data), pixels(encoded(frames[0])))


def test_the_reported_size_is_that_of_the_encoded_image() -> None:
    found = decode(encoded(picture("RGB", 301, 97)), 64, LIMIT)
    assert (found.width, found.height, found.pixels.shape) == (301, 97, (64, 64, 3))


def test_fifty_megapixels_equal_the_reference() -> None:
    data = encoded(picture("L", 1000, 500).resize((10_000, 5_000), Image.Resampling.NEAREST), "JPEG", quality=50)
    np.testing.assert_array_equal(pixels(data), reference(data))


def test_the_pixel_limit_is_checked_in_the_header_before_decoding() -> None:
    header_only = encoded(picture("RGB", 300, 200))[:60]
    assert reason(header_only, max_pixels=59_999) == Reason.TOO_MANY_PIXELS
    whole = encoded(picture("RGB", 300, 200))
    assert reason(whole, max_pixels=59_999) == Reason.TOO_MANY_PIXELS
    assert decode(whole, 224, 60_000).width == 300


@pytest.mark.parametrize("side", [10_000, 20_000, 60_000])
def test_decompression_bombs_are_refused_independently_of_pillows_limit(side: int) -> None:
    assert reason(b"P6 %d %d 255\n" % (side, side), max_pixels=99_999_999) == Reason.TOO_MANY_PIXELS


def test_a_limit_above_pillows_default_is_honoured() -> None:
    script = (
        "from pipeline.images.decode import decode; import numpy as np, io; from PIL import Image\n"
        "b = io.BytesIO(); Image.new('1', (14_000, 14_000), 1).save(b, 'PNG')\n"
        "print(decode(b.getvalue(), 32, 200_000_000).pixels.min())"
    )
    run = subprocess.run([sys.executable, "-W", "default", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "255"
    assert run.stderr == ""


NOT_IMAGES = [b"", b"hello, this is text", b"<html><body>404</body></html>", b"\0" * 4096, b"%!PS-Adobe-3.0 EPSF-3.0\n"]


@pytest.mark.parametrize("data", NOT_IMAGES, ids=lambda data: repr(data[:8]))
def test_bytes_of_other_formats_are_not_an_image(data: bytes) -> None:
    assert reason(data) == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("name", ["RGB JPEG", "RGB PNG", "palette GIF", "RGB WebP", "RGB BMP", "grey PPM"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_files_are_reported_as_truncated(name: str, share: float) -> None:
    whole = sample(name)
    assert reason(whole[: int(len(whole) * share)]) == Reason.TRUNCATED


@pytest.mark.parametrize("name", ["RGB JPEG", "RGB PNG", "palette GIF", "RGB WebP"])
def test_files_cut_in_the_header_are_reported_as_truncated(name: str) -> None:
    assert reason(sample(name)[:20]) == Reason.TRUNCATED


def test_a_damaged_file_of_full_length_is_unreadable() -> None:
    data = bytearray(sample("RGB PNG"))
    data[60:160] = os.urandom(100)
    assert reason(bytes(data)) == Reason.UNREADABLE


def test_the_message_describes_the_rejected_image() -> None:
    with pytest.raises(ImageError, match=r"not_an_image: 19 bytes that begin with b'hello, this .*JPEG, PNG"):
        decode(b"hello, this is text", 224, LIMIT)
    with pytest.raises(ImageError, match="too_many_pixels: 300 x 200 is more than --max-pixels 10"):
        decode(sample("RGB PNG"), 224, 10)


@cache
def seeds() -> list[bytes]:
    names = ("RGB JPEG", "palette PNG", "palette GIF", "RGBA WebP", "RGB BMP", "ICO")
    small = encoded(picture("RGBA", 40, 30), "TIFF"), encoded(picture("RGB", 40, 30), "JPEG2000")
    return [*map(sample, names), *small]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 8))):
        data[draw(st.integers(0, min(len(data) - 1, 2000)))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.one_of(st.binary(max_size=200), mutated()))
def test_any_bytes_give_pixels_or_an_image_error(data: bytes) -> None:
    try:
        found = decode(data, 32, 1_000_000)
    except ImageError:
        return
    assert found.pixels.shape == (32, 32, 3)
    assert 0 <= found.phash() < 2**64


def test_decoding_in_threads_gives_the_same_result() -> None:
    names = list(SAME_AS_REFERENCE) * 3
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda name: decode(sample(name), 64, LIMIT), names))
    for name, image in zip(names, found, strict=True):
        expected = decode(sample(name), 64, LIMIT)
        np.testing.assert_array_equal(image.pixels, expected.pixels)
        assert image.phash() == expected.phash()


def partly_zeroed_jpeg() -> bytes:
    data = encoded(picture("RGB", 400, 400), "JPEG", restart_marker_blocks=25)
    half = len(data) // 2
    return data[:half] + bytes(len(data) - half - 2) + data[-2:]


def cut_and_closed_jpeg() -> bytes:
    whole = sample("RGB JPEG")
    return whole[: len(whole) * 3 // 10] + b"\xff\xd9"


def with_margins(top: int, bottom: int) -> bytes:
    image = picture("RGB", 224, 224)
    image.paste("white", (0, 0, 224, top))
    image.paste("white", (0, 224 - bottom, 224, 224))
    return encoded(image)


@pytest.mark.parametrize(
    ("made", "least", "most"),
    [
        (partial(sample, "RGB JPEG"), 0, 0),
        (partial(with_margins, 0, 56), 0.25, 0.25),
        (partial(with_margins, 112, 56), 0.5, 0.5),
        (partial(encoded, Image.new("RGB", (9, 9), (1, 2, 3))), 1, 1),
        (cut_and_closed_jpeg, 0.4, 0.9),
        (partly_zeroed_jpeg, 0.2, 0.9),
    ],
    ids=["whole", "margin below", "larger margin", "one colour", "cut and closed", "partly zeroed"],
)
def test_the_share_of_blank_rows_shows_what_the_decoder_does_not(
    made: Callable[[], bytes], least: float, most: float
) -> None:
    assert least <= decode(made(), 224, LIMIT).blank_rows() <= most


def test_avif_is_decoded_on_one_core() -> None:
    """As all formats are: several decoders share the cores, and Pillow's default is all of them for each."""
    assert AvifImagePlugin._get_default_max_threads() == 1
