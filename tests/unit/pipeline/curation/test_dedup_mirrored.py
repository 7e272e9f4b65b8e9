"""Test copies that are mirrored or rotated: hashes that follow from stored ones, and the rung that uses them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.images.decode import decode
from pipeline.images.measures.phash import phash, turned
from tests.fixtures.duplicates import EmbeddedCatalog, Picture, pictures
from tests.fixtures.places import ROOT

Pixels = np.ndarray
TURNS: list[Callable[[Pixels], Pixels]] = [
    lambda pixels: pixels[:, ::-1],
    lambda pixels: pixels[::-1],
    lambda pixels: pixels[::-1, ::-1],
    lambda pixels: pixels.transpose(1, 0, 2),
    lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    lambda pixels: pixels.transpose(1, 0, 2)[::-1],
    lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
]


@pytest.fixture(scope="module")
def drawings() -> list[Pixels]:
    """Pixels of some pictures of the demo catalog."""
    with tarfile.open(ROOT / "demo" / "catalog" / "emoji-0001.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".png")][:300:3]
        return [decode(tar.extractfile(name).read(), 64, 2**28).pixels for name in names]  # type: ignore[union-attr]


@pytest.mark.parametrize("turn", range(7))
def test_the_hash_of_a_turned_picture_follows_from_its_hash(drawings: list[Pixels], turn: int) -> None:
    hashes = np.array([phash(pixels) for pixels in drawings], np.uint64)
    made = [phash(np.ascontiguousarray(TURNS[turn](pixels))) for pixels in drawings]
    apart = np.array([(int(one) ^ other).bit_count() for one, other in zip(turned(hashes)[turn], made, strict=True)])
    if turn == 3:
        assert not apart.any()
    assert (apart <= DedupSettings().mirrored_radius).mean() > 0.6
    assert set(turned(turned(hashes)[turn])[[0, 1, 2, 3, 5, 4, 6][turn]].tolist()) == set(hashes.tolist())


def test_mirrored_and_rotated_copies_are_linked_and_others_are_not(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    hashes = draw.integers(0, 2**64, 40, np.uint64)
    vectors = [one.vector for one in pictures(40, 5, near=0)]
    flips = np.uint64(0b1011) << np.uint64(20)
    hashes[20:27] = turned(hashes[:1])[:, 0]
    hashes[27:34] = turned(hashes[1:2])[:, 0] ^ flips
    hashes[34] = hashes[2]
    hashes[35] = turned(hashes[3:4])[0, 0] ^ np.uint64(0x7F)
    goods = {f"{n:02d}": Picture(vector, phash=int(hashes[n])) for n, vector in enumerate(vectors)}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night(goods)
    settings = DedupSettings(rungs=("mirrored",), keep="first")
    dedup(catalog.out, settings)
    rows = {row["id"]: row for row in pq.read_table(f"{catalog.out}/dedup/dedup.parquet").to_pylist()}
    dropped = {id_: (row["duplicate_of"], row["bits"]) for id_, row in rows.items() if not row["keep"]}
    first = {f"{n}": ("00", 0) for n in range(20, 27)}
    assert dropped == first | {f"{n}": ("01", 3) for n in range(27, 34)} | {"34": ("02", 0)}
    assert {row["rung"] for row in rows.values() if not row["keep"]} == {"mirrored"}
    both = dedup(catalog.out, settings.model_copy(update={"rungs": ("mirrored+image",), "reconsider": True}))
    assert both.dropped == 0
