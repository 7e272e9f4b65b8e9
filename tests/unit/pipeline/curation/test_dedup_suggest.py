"""Test the pairs that `hanclip dedup --suggest` shows, against all pairs by brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.curation.dedup import suggest as module
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.dedup.suggest import suggest
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.report.suggest_page import write_suggest_page
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.duplicates import EmbeddedCatalog, pictures
from tests.fixtures.pages import Page


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedCatalog:
    """Pictures of which many are near copies; ten of them twice with equal pixels."""
    made = pictures(600, 7)
    goods = {f"sku-{n:04d}": one for n, one in enumerate([*made, *made[:10]])}
    found = EmbeddedCatalog(tmp_path_factory.mktemp("suggest") / "out")
    found.night(goods)
    return found


def test_pairs_are_counted_by_band_and_shown_with_their_cosines(catalog: EmbeddedCatalog) -> None:
    [found] = suggest(catalog.out, DedupSettings())
    assert (found.rung, found.option, found.threshold) == ("image", "--image-cosine", 0.985)
    assert (found.measured, found.vectors, found.sampled) == (False, 600, 600)
    assert [band.low for band in found.bands] == [0.995, 0.99, 0.985, 0.98, 0.975, 0.97, 0.965, 0.96, 0.955]
    made = {f"sku-{n:04d}": one.vector.astype(np.float64) for n, one in enumerate(pictures(600, 7))}
    vectors = np.stack([*made.values()])
    cosines = (vectors @ vectors.T)[np.triu_indices(600, 1)]
    for band in found.bands:
        top = 2 if band.high == 1 else band.high
        assert band.pairs == ((cosines >= band.low) & (cosines < top)).sum() > 0
        assert band.pairs_from == (cosines >= band.low).sum()
        assert 0 < len(band.examples) <= 6
        for pair in band.examples:
            one, other = (vectors[int(member.id[-4:]) % 600] for member in (pair.one, pair.other))
            assert pair.cosine == pytest.approx(float(one @ other), abs=1e-5)
            assert band.low - 1e-6 <= pair.cosine <= top + 1e-6
        ids = [frozenset((pair.one.id, pair.other.id)) for pair in band.examples]
        assert len(set(ids)) == len(ids)
        assert [pair.cosine for pair in band.examples] == sorted((p.cosine for p in band.examples), reverse=True)


def test_a_sample_estimates_the_pairs_of_a_large_dataset(
    catalog: EmbeddedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    [whole] = suggest(catalog.out, DedupSettings())
    monkeypatch.setattr(module, "_PAIRS", 0)
    monkeypatch.setattr(module, "_LEAST_SAMPLE", 300)
    [part] = suggest(catalog.out, DedupSettings())
    assert (part.sampled, part.vectors) == (300, 600)
    assert part.bands[-1].pairs_from == pytest.approx(whole.bands[-1].pairs_from, rel=0.15)
    assert part == suggest(catalog.out, DedupSettings())[0]


def test_only_pairs_that_meet_the_other_conditions_are_counted(tmp_path: Path) -> None:
    made = pictures(200, 7)
    size, title, phash = ([n % m for n in range(200)] for m in (2, 3, 4))
    goods = {
        f"sku-{n:04d}": replace(one, text=f"T{title[n]}", phash=phash[n], extra={"size": size[n] or None})
        for n, one in enumerate(made)
    }
    found = EmbeddedCatalog(tmp_path / "out", pa.schema([("size", pa.int64())]))
    found.night(goods)
    vectors = np.stack([one.vector for one in made]).astype(np.float64)
    i, j = np.nonzero(np.triu(vectors @ vectors.T >= 0.955, 1))
    alike = {name: np.array(values)[i] == np.array(values)[j] for name, values in (("s", size), ("t", title))}
    bits = np.bitwise_count(np.array(phash)[i] ^ np.array(phash)[j])

    def pairs(*rungs: str, **settings: object) -> int:
        [one] = suggest(found.out, DedupSettings.model_validate({"rungs": rungs, **settings}))
        return one.bands[-1].pairs_from

    assert pairs("image") == pairs("image", "image+text") == len(i)
    assert pairs("image", same=["size"]) == alike["s"].sum() < len(i)
    assert pairs("image+text") == alike["t"].sum()
    assert pairs("image+text", same=["size"]) == (alike["t"] & alike["s"]).sum()
    assert pairs("image+phash", phash_radius=1) == (bits <= 1).sum()
    assert pairs("image+phash", "image+text", phash_radius=0) == (alike["t"] | (bits == 0)).sum()
    (tmp_path / "never.csv").write_text(f"sku-{i[0]:04d},sku-{j[0]:04d}")
    assert pairs("image", not_duplicates=str(tmp_path / "never.csv")) == len(i) - 1


def test_the_page_shows_both_rows_of_each_pair_in_both_languages(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_images=False))
    commit(dataset, 1, some_records(300))
    [found] = suggest(dataset.uri, DedupSettings())
    assert (found.rung, found.option, found.vectors) == ("near-text", "--text-cosine", 300)
    page = Page(Path(write_suggest_page(dataset.uri, [found])))
    page.check_self_contained()
    assert page.strays == []
    assert "not measured" in page.texts["near-text"]
    pairs = [pair for band in found.bands for pair in band.examples]
    ids = [member.id for pair in pairs for member in (pair.one, pair.other)]
    assert [card["rid"] for card in page.cards["near-text"]] == ids
    assert len(ids) > 20


def test_a_threshold_with_many_digits_is_the_end_of_a_band(catalog: EmbeddedCatalog) -> None:
    [found] = suggest(catalog.out, DedupSettings(image_cosine=0.98765432))
    assert [band.low for band in found.bands][2] == found.threshold == 0.98765432


def test_rungs_without_a_threshold_of_vectors_are_refused(catalog: EmbeddedCatalog) -> None:
    with pytest.raises(UsageError, match="add --rung image or --rung near-text"):
        suggest(catalog.out, DedupSettings(rungs=("bytes",)))


def test_a_run_says_that_a_default_threshold_is_unmeasured_for_the_model(catalog: EmbeddedCatalog) -> None:
    [note] = dedup(catalog.out, DedupSettings()).notes
    assert note.startswith(
        "the threshold of rung image, 0.985, is unmeasured for this model, test/clip: `hanclip dedup"
    )
    assert not [note for note in dedup(catalog.out, DedupSettings(image_cosine=0.97)).notes if "unmeasured" in note]
