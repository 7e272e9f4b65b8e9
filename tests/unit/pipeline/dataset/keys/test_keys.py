"""The index of keys: readers get what the files hold, whatever happened to files and blocks, and open few of them."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset import layout
from pipeline.dataset.checks.held import count_held
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.keys import advance as advancing
from pipeline.dataset.keys import block, index
from pipeline.dataset.keys.facts import FileVersion
from pipeline.dataset.keys.index import read_facts
from pipeline.dataset.keys.reading import read_file, read_keys
from pipeline.dataset.outcomes import gather
from pipeline.scratch.workspace import Workspace
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.nights import Shop, skus
from tests.fixtures.opened import opened_files

FAILING = ("sku-00003", "sku-00150", "sku-00299")


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights with failures, a change and a record that is gone, and their index in two blocks."""
    shop = Shop(tmp_path_factory.mktemp("nights"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advancing, "FEW_FILES", 2)
        patch.setattr(advancing, "_SMALL_ROWS", 1)
        shop.night(skus(300), FAILING)
        shop.night(skus(310) | {"sku-00007": "B"}, ("sku-00305",))
        dataset(shop).index_keys()
        shop.night({id_: state for id_, state in skus(310).items() if id_ != "sku-00020"})
        dataset(shop).index_keys()
    return shop.table.parent


@pytest.fixture
def shop(three_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(index, "FEW_FILES", 2)
    monkeypatch.setattr(advancing, "FEW_FILES", 2)
    shutil.copytree(three_nights, tmp_path / "shop")  # with the times of files, so the index is of them
    return Shop(tmp_path / "shop", moved=True)


def dataset(shop: Shop) -> Dataset:
    return Dataset.open(shop.out)


def blocks(shop: Shop) -> list[Path]:
    return sorted(Path(shop.out, "_keys").glob("*"))


def files(shop: Shop) -> list[FileVersion]:
    data = dataset(shop).files()
    found = [*data, *dataset(shop).quarantine_files(data), *layout.tombstones(shop.out).values()]
    return [FileVersion.of(file, shop.out) for file in found]


def assert_right(shop: Shop, indexed: int | None = None) -> None:
    """Readers get the keys of every file, each once; of so many files they read the index and not the file."""
    listed = files(shop)
    found = {
        (listed[number].name, row): key
        for one in read_keys(shop.out, listed)
        for number, row, key in zip(one.files.tolist(), one.rows.tolist(), one.keys.to_pylist(), strict=True)
    }
    total = sum(one.keys.num_rows for one in read_keys(shop.out, listed))
    expected = {
        (file.name, row): key for file in listed for row, key in enumerate(read_file(shop.out, file).to_pylist())
    }
    assert (found, total) == (expected, len(expected))
    data = dataset(shop).files()
    facts = read_facts(shop.out, data)
    assert [one.shard_id for one in facts] == [file.shard_id for file in data]
    assert [one.rows_embedded for one in facts] == [pq.read_metadata(file.uri).num_rows for file in data]
    if indexed is not None:
        _, rest = index.KeyIndex.open(shop.out, len(listed)).cover(listed)
        assert len(listed) - len(rest) == indexed


def test_every_file_is_read_from_the_index_after_a_run(shop: Shop) -> None:
    assert_right(shop, len(files(shop)))
    assert {Path(file.name).parts[0] for file in files(shop)} == {"embeddings", "_quarantine", "_tombstones"}


def test_outcomes_are_the_same_with_and_without_the_index(shop: Shop) -> None:
    def outcomes() -> list[tuple[object, ...]]:
        with Workspace() as work:
            gather(dataset(shop), work)
            return work.rows("SELECT * FROM outcomes ORDER BY place")

    with_index = outcomes()
    shutil.rmtree(Path(shop.out, "_keys"))
    assert outcomes() == with_index
    assert {kind for *_, kind in with_index} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "damage", ["facts cut", "facts gone", "keys changed", "keys cut", "keys gone", "foreign", "other dataset"]
)
def test_a_damaged_index_is_not_used_and_is_made_again(shop: Shop, tmp_path: Path, damage: str) -> None:
    [facts, keys] = [one for ending in ("files", "keys") for one in blocks(shop) if f".{ending}." in one.name][-2:]
    if damage.endswith("gone"):
        (facts if damage.startswith("facts") else keys).unlink()
    elif damage == "facts cut":
        facts.write_bytes(facts.read_bytes()[:-100])
    elif damage == "keys cut":
        keys.write_bytes(keys.read_bytes()[:-100])
    elif damage == "keys changed":
        content = bytearray(keys.read_bytes())
        content[200] ^= 1
        keys.write_bytes(content)
    elif damage == "foreign":
        Path(shop.out, "_keys", "notes.txt").write_text("mine")
    else:
        shutil.rmtree(Path(shop.out, "_keys"))
        other = Shop(tmp_path / "other")
        other.night(skus(30), FAILING[:1])
        dataset(other).index_keys()
        shutil.copytree(Path(other.out, "_keys"), Path(shop.out, "_keys"))
    block._read.cache_clear()
    assert_right(shop)
    dataset(shop).index_keys()
    assert_right(shop, len(files(shop)))


def test_a_file_that_is_gone_or_another_one_is_not_read_from_the_index(shop: Shop) -> None:
    data = sorted(Path(shop.out, "embeddings").rglob("*.parquet"))
    data[0].unlink()
    table = pq.read_table(data[1])
    pq.write_table(table.slice(1), data[1])
    listed = [FileVersion.of(file, shop.out) for file in dataset(shop).files()]
    found = sum(one.keys.num_rows for one in read_keys(shop.out, listed))
    assert found == sum(pq.read_metadata(path).num_rows for path in data[1:])


def test_the_number_of_blocks_grows_with_the_logarithm_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advancing, "FEW_FILES", 1)
    monkeypatch.setattr(advancing, "_SMALL_ROWS", 1)
    monkeypatch.setattr(advancing, "_KEPT", timedelta(seconds=-2))
    found = Dataset.open_or_create(str(tmp_path), an_identity())
    written = 0
    for night in range(24):
        commit(found, night, some_records(4, night * 4))
        before = set(tmp_path.glob("_keys/*.files.parquet"))
        found.index_keys()
        new = set(tmp_path.glob("_keys/*.files.parquet")) - before
        written += sum(int(path.name.partition("-")[0]) for path in new)
    found.index_keys()
    assert len(list(tmp_path.glob("_keys/*.files.parquet"))) <= 5
    assert written <= 24 * 4 * 5


def test_two_runs_may_add_to_the_index_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.night(skus(330), ("sku-00320",))
    before = {path.name: path.read_bytes() for path in blocks(shop)}
    dataset(shop).index_keys()
    mine = {path.name: path.read_bytes() for path in blocks(shop)}
    for path in blocks(shop):
        path.unlink()
    for name, content in before.items():
        Path(shop.out, "_keys", name).write_bytes(content)
    dataset(shop).index_keys()
    for name, content in mine.items():
        Path(shop.out, "_keys", name).write_bytes(content)
    assert_right(shop, len(files(shop)))
    monkeypatch.setattr(advancing, "_KEPT", timedelta(seconds=-2))
    dataset(shop).index_keys()
    dataset(shop).index_keys()
    assert_right(shop, len(files(shop)))
    assert len(blocks(shop)) == 2


@pytest.mark.parametrize("seed", range(2))
def test_any_history_is_read_right(shop: Shop, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(advancing, "_SMALL_ROWS", chance.choice([1, 100]))
    monkeypatch.setattr(advancing, "_KEPT", timedelta(seconds=chance.choice([-2, 3600])))
    for _step in range(5):
        what = chance.choice(["night", "advance", "delete", "damage"])
        if what == "night":
            goods = {id_: chance.choice("AAAB") for id_ in chance.sample(sorted(skus(320)), 305)}
            shop.night(goods, tuple(chance.sample(sorted(goods), 3)))
        elif what == "advance":
            dataset(shop).index_keys()
        elif what == "delete":
            chance.choice(sorted(Path(shop.out, "embeddings").rglob("*.parquet"))).unlink()
        elif blocks(shop):
            chance.choice(blocks(shop)).write_bytes(b"PAR1")
            block._read.cache_clear()
        assert_right(shop)


def test_a_night_opens_no_more_files_after_many_nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FEW_FILES", 2)
    monkeypatch.setattr(advancing, "FEW_FILES", 2)
    shop, opened = Shop(tmp_path), dict[int, int]()
    goods = {record.id: record.source_fingerprint for record in some_records(199)}
    for night in range(32):
        goods |= {f"item-{number * 19 % 199:05d}": str(night) for number in range(night, night + 3)}
        with opened_files(shop.out) as counts:
            if night in (0, 1, 2, 30, 31):
                shop.night(goods)
                count_held(shop.out)
            else:  # what such a night leaves, without its plan
                commit(dataset(shop), night, some_records(1, 200 + night), f"2026-12-{night:02d}")
            dataset(shop).index_keys()
        opened[night] = counts.total()
    # A run over other goods than the night before writes tombstones, and this history has one.
    assert opened[31] <= opened[2] + 2, opened
