"""What planning remembers of a source saves reading ids, and decides nothing that the committed shards do not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset import layout
from pipeline.plan.cuts.known import KnownCuts, read_known, write_known
from tests.fixtures.catalogs import Catalog, shard_ids, skus
from tests.fixtures.datasets import carry_out

A, B, C, D, E, F = (frozenset([digit * 32]) for digit in "abcdef")
KNOWN = KnownCuts(done=A, planned=B, relied=C, shards=D)


@pytest.mark.parametrize(
    ("committed", "expected"),
    [
        (C | D, KnownCuts(done=A | B, relied=C | D)),
        (C | E, KnownCuts(done=A, relied=C)),
        (D | E, KnownCuts()),
    ],
    ids=["all", "unfinished plan", "deleted file"],
)
def test_cuts_count_while_the_shards_with_their_outcomes_exist(committed: frozenset[str], expected: KnownCuts) -> None:
    assert KNOWN.given(committed) == expected


def test_what_is_stored_is_read_back_and_damage_is_nothing(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert read_known(out, "source") == KnownCuts()
    write_known(out, "source", KNOWN)
    assert read_known(out, "source") == KNOWN
    stored = Path(layout.cuts_uri(out, "source"))
    whole = stored.read_bytes()
    for at in range(0, len(whole), 7):
        stored.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        assert read_known(out, "source") in (KNOWN, KnownCuts())


@pytest.fixture
def packed(tmp_path: Path) -> Catalog:
    """A catalog whose second night was packed into one shard."""
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(2000))
    carry_out(catalog.plan())
    catalog.write("part-0", skus(2000), skus(2000)[::100])
    carry_out(catalog.plan())
    return catalog


def test_an_unchanged_source_is_planned_without_reading_ids_after_any_number_of_packed_nights(packed: Catalog) -> None:
    ids = skus(2000)
    for night in range(2):  # the first parts change again, the others are known from the night before
        packed.write("part-0", ids, ids[::100] + ids[night:300:150])
        carry_out(packed.plan())
    for file in packed.out.glob("embeddings/*/*.parquet"):
        file.write_bytes(b"unreadable")
    assert packed.plan().shards == []


def test_the_rows_of_a_deleted_file_are_planned_again(packed: Catalog) -> None:
    newest = max(packed.out.glob("embeddings/*/*.parquet"), key=lambda file: file.stat().st_mtime_ns)
    newest.unlink()
    plan = packed.plan()
    assert (plan.rows, shard_ids(plan)) == (20, [newest.stem])
