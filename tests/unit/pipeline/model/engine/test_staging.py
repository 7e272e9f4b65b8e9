"""What a GPU gets: the rows of several requests, one after the other in one buffer, and fused weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.model.engine.contract import Pass
from pipeline.model.engine.staging import SlotSizes, Staged, stage
from pipeline.model.tokenizer import TextRows
from tests.fixtures.random_towers import SMALL_SIZES, random_weights


def test_pixels_of_several_requests_follow_each_other() -> None:
    parts = tuple(np.random.default_rng(n).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (2, 1, 3))
    buffer = np.zeros(SlotSizes(images=6, texts=1, side=4, tokens=4, dim=2).input_bytes, np.uint8)
    assert stage(Pass("image", parts), buffer) == Staged(n_bytes=6 * 48, rows=6)
    assert np.array_equal(buffer.reshape(6, 4, 4, 3), np.concatenate(parts))


def test_texts_of_several_requests_are_padded_to_the_longest() -> None:
    long = TextRows(np.array([[1, 2, 3, 4], [1, 2, 9, 9]]), np.array([4, 2]))
    short = TextRows(np.array([[5, 6]]), np.array([2]))
    buffer = np.full(SlotSizes(images=1, texts=3, side=1, tokens=4, dim=2).input_bytes, 0xFF, np.uint8)
    assert stage(Pass("text", (short, long)), buffer) == Staged(n_bytes=3 * 5 * 8, rows=3, length=4, padded=True)
    numbers = buffer.view(np.int64)
    assert numbers[:12].reshape(3, 4).tolist() == [[5, 6, 0, 0], [1, 2, 3, 4], [1, 2, 9, 9]]
    assert numbers[12:].tolist() == [2, 4, 2]
    assert not stage(Pass("text", (short, short)), buffer).padded


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_fused_weights_give_the_same_features(activation: str) -> None:
    model, fused = (random_weights(replace(SMALL_SIZES, image_activation=activation)) for _ in range(2))
    fused.fuse()
    assert sum(values.numel() for values in fused.parameters()) == sum(values.numel() for values in model.parameters())
    pixels, ids = torch.randn(3, 3, 64, 64), torch.randint(1, 500, (3, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    for name, given in (("image_features", (pixels,)), ("text_features", (ids, mask)), ("text_features", (ids, None))):
        expected, found = getattr(model, name)(*given), getattr(fused, name)(*given)
        assert torch.nn.functional.cosine_similarity(expected, found).min() > 1 - 1e-6
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
