"""The id of the preprocessing, what may continue it, and machines and files whose pixels may differ."""

from __future__ import annotations

import pytest

from pipeline.dataset.checks.mixtures import mixtures
from pipeline.dataset.footer import joined_makers
from pipeline.errors import RunError
from pipeline.images.makers import pixel_makers, require_same_pixels
from pipeline.images.preprocessing import (
    CLIP_MEAN,
    CLIP_STD,
    first_version,
    may_continue,
    names_order,
    preprocessing_id,
)

HERE = pixel_makers() | {"torch": "2.13.0", "towers": "transformers 5.23.0", "tokenizers": "0.23.3"}


def test_the_id_covers_everything_that_changes_pixels() -> None:
    assert preprocessing_id(224, CLIP_MEAN, CLIP_STD) == "squash-bicubic-224/white/v2"
    assert preprocessing_id(336, list(CLIP_MEAN), list(CLIP_STD)) == "squash-bicubic-336/white/v2"
    other = preprocessing_id(224, (0.5, 0.5, 0.5), CLIP_STD)
    assert other.startswith("squash-bicubic-224/white/v2/")
    assert other != preprocessing_id(224, (0.5, 0.5, 0.6), CLIP_STD)


@pytest.mark.parametrize("mean", [CLIP_MEAN, (0.5, 0.5, 0.5)])
def test_datasets_of_the_first_version_are_continued_and_no_others(mean: tuple[float, float, float]) -> None:
    now = preprocessing_id(224, mean, CLIP_STD)
    first = first_version(now)
    assert (names_order(first), names_order(now)) == (False, True)
    assert may_continue(first, now)
    assert may_continue(now, now)
    assert not may_continue(now, first)
    assert not may_continue(first_version(preprocessing_id(336, mean, CLIP_STD)), now)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"pillow": "12.3.0"}, "Pillow"), ({"libjpeg": "2.1.5"}, "libjpeg-turbo"), ({"resize": "x"}, "x")],
)
def test_a_decoder_that_would_make_other_pixels_than_the_driver_is_refused(change: dict[str, str], named: str) -> None:
    with pytest.raises(RunError, match=rf"other pixels than the driver's.*{named}.*Install the same"):
        require_same_pixels(pixel_makers() | change, pixel_makers())


def test_minor_versions_of_pillow_may_be_mixed() -> None:
    require_same_pixels(pixel_makers() | {"pillow": "13.0.0"}, pixel_makers() | {"pillow": "13.2.1"})


def test_makers_of_several_chunks_are_joined_and_unnamed_ones_are_unknown() -> None:
    other = HERE | {"pillow": "12.3.0", "tokenizers": "none"}
    joined = joined_makers([HERE, other, other, {}])
    assert joined["pillow"] == f"12.3.0,{HERE['pillow']},unknown"
    assert joined["tokenizers"] == "0.23.3,unknown"
    assert set(joined_makers([]).values()) == {"none"}
    assert joined_makers([joined, HERE]) == joined


def test_files_that_may_have_other_pixels_than_the_rest_are_noted() -> None:
    assert list(mixtures([HERE, HERE, joined_makers([])])) == []
    (earlier,) = mixtures([HERE, joined_makers([{}])])
    assert earlier.startswith("1 of 2 files: made before hanclip fixed the order")
    assert "with another OUT" in earlier
    assert "OUT" not in next(mixtures([joined_makers([{}])]))
    (note,) = mixtures([HERE | {"pillow": "12.3.0"}, HERE | {"pillow": "13.0.0"}, HERE | {"pillow": "13.1.0"}])
    assert note.startswith("Pillow's major version differs between files: 12 in 1, 13 in 2.")
