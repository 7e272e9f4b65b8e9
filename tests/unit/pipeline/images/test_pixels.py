"""Pixels and vectors are those of Pillow and of plain arithmetic; `python -m benchmarks.pixels` compares far more."""

from __future__ import annotations

import random
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.pixels import Pictures, compare, ours, pillows
from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.images.resizing import squash
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip
from pipeline.model.engine.open import device_for
from pipeline.model.tokenizer import Tokenizer
from pipeline.model.towers.build import load_towers
from tests.fixtures.places import ROOT

#: One of so many pictures of the demo is compared.
_EVERY = 25


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels run, as after two megapixels; without them Pillow does everything."""
    late = squash._LateKernels()
    late._left, late._kernels = 0, kernels()
    assert late._kernels is not None
    monkeypatch.setattr(squash, "_fast", late)


#: Compiled once.
kernels = cache(squash.started_kernels)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures(seed=4, tiles=1)


@pytest.mark.parametrize("sort", ["make", "damaged"])
def test_random_files_give_the_pixels_or_the_reason_of_pillow(pictures: Pictures, sort: str) -> None:
    make: Callable[[], tuple[str, bytes]] = getattr(pictures, sort)
    found, different = compare(make, 150, random.Random(1), time.monotonic() + 60)
    assert different == []
    assert (found.total(), len(found) > 6) == (150, True)


def catalog() -> Iterator[bytes]:
    for path in sorted((ROOT / "demo" / "catalog").glob("*.tar")):
        with tarfile.open(path) as tar:
            files = [member for member in tar if not member.name.endswith((".txt", ".json"))]
            yield from (tar.extractfile(member).read() for member in islice(files, None, None, _EVERY))  # type: ignore[union-attr]


def test_the_demo_catalog_has_the_vectors_of_plain_arithmetic_bit_for_bit() -> None:
    try:
        spec = resolve(ModelConfig(name="demo"))
    except ModelError:
        pytest.skip("no demo model in this checkout")
    towers = load_towers(spec, torch.device("cpu"), torch.float32)
    tokenizer = Tokenizer.load(Path(spec.vocabulary), spec.rules, spec.context_length)
    clip = ChineseClip(towers, device_for(towers, spec, batch_size=64), tokenizer, spec)
    outcomes = [(ours(data, spec.image_size), pillows(data, spec.image_size)) for data in catalog()]
    pixels = [[outcome[2] for outcome in side if len(outcome) == 3] for side in zip(*outcomes, strict=True)]
    assert len(pixels[1]) > 64  # more than one pass
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.image_mean, spec.image_std))
    levels = torch.from_numpy(np.stack(pixels[1])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = [
            torch.nn.functional.normalize(towers.images(some * (1 / (255 * std)) - mean / std), dim=1)
            for some in levels.split(clip.batch_size)
        ]
    np.testing.assert_array_equal(clip.encode_images(np.stack(pixels[0])), torch.cat(expected))
