"""Tombstones of whole-catalog runs: ids that vanish and return, and the guards against incomplete listings."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.config import OutputConfig, RunConfig, SourceConfig, parse
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.schema import TOMBSTONES
from pipeline.errors import ConfigError, SourceError
from pipeline.plan.make import dry_plan, make_plan
from pipeline.plan.run_ids import new_run_id
from tests.fixtures.datasets import FakeModel, carry_out
from tests.fixtures.nights import Shop, skus, states


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.night(skus(200))
    return shop


def without(goods: dict[str, str], *ids: str) -> dict[str, str]:
    return {id_: etag for id_, etag in goods.items() if id_ not in ids}


def test_a_vanished_id_gets_one_tombstone(shop: Shop) -> None:
    remaining = without(skus(200), "sku-00003", "sku-00004")
    plan = shop.night(remaining)
    assert (plan.rows, plan.rows_vanished) == (0, 2)
    assert shop.tombstones() == [
        {"id": id_, "source_fingerprint": None, "gone": True} for id_ in ("sku-00003", "sku-00004")
    ]
    assert shop.night(remaining).rows_vanished == 0
    [file] = Path(shop.out, "_tombstones").iterdir()
    assert file.stem == plan.run_id
    assert pq.read_schema(file).remove_metadata().equals(TOMBSTONES)
    assert pq.read_metadata(file).metadata[b"hanclip.run_id"].decode() == plan.run_id
    assert verify(shop.out).ok


def test_an_unchanged_id_that_returns_is_restored_and_not_embedded_again(shop: Shop) -> None:
    shop.night(without(skus(200), "sku-00003") | {"sku-00004": "B"})
    assert "sku-00003" not in states(shop.out)
    plan = shop.night(skus(200))
    assert (plan.rows, plan.rows_vanished) == (0, 0)
    assert [(row["id"], row["source_fingerprint"][0], row["gone"]) for row in shop.tombstones()[1:]] == [
        ("sku-00003", "A", False),
        ("sku-00004", "A", False),
    ]
    assert states(shop.out) == skus(200)
    shop.night(skus(200))
    assert len(list(Path(shop.out, "_tombstones").iterdir())) == 2


def test_an_id_that_returns_with_a_new_image_is_embedded(shop: Shop) -> None:
    shop.night(without(skus(200), "sku-00003"))
    plan = shop.night(skus(200) | {"sku-00003": "B"})
    assert plan.rows == 1
    assert len(shop.tombstones()) == 1
    assert states(shop.out)["sku-00003"] == "B"


def test_no_id_is_gone_while_a_folder_cannot_be_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.stock(without(skus(200), "sku-00003"))
    folder = shop.table.parent
    (folder / "locked").mkdir()
    scandir = os.scandir

    def refusing(path: str | int) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "refused", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert shop.plan(uris=(str(folder),)).rows_vanished == 0
    monkeypatch.undo()
    assert shop.plan(uris=(str(folder),)).rows_vanished == 1


def test_only_whole_catalog_runs_write_tombstones(shop: Shop) -> None:
    shop.stock(without(skus(200), "sku-00003"))
    assert shop.plan(whole_catalog=False).rows_vanished == 0
    assert shop.tombstones() == []


def test_a_dry_plan_counts_vanished_ids_and_writes_nothing(shop: Shop) -> None:
    shop.stock(without(skus(200), "sku-00003"))
    assert dry_plan(shop.config(), FakeModel(), 1).rows_vanished == 1
    assert shop.tombstones() == []


def test_a_large_loss_of_ids_is_refused_before_anything_is_written(shop: Shop) -> None:
    before = sorted(Path(shop.out).rglob("*"))
    shop.stock(dict(list(skus(200).items())[:150]))
    with pytest.raises(SourceError, match=r"lacks 50 of the 200 ids .* more than the 20% .* --max-vanished 0\.2[56]"):
        shop.plan()
    assert sorted(Path(shop.out).rglob("*")) == before
    assert shop.plan(max_vanished=0.25).rows_vanished == 50
    assert len(states(shop.out)) == 150


def test_ids_that_vanished_earlier_are_not_counted_again(shop: Shop) -> None:
    goods = skus(200)
    for left in (170, 140, 115):
        shop.night(dict(list(goods.items())[:left]))
    assert len(states(shop.out)) == 115


def test_a_small_dataset_may_lose_any_share(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.night(skus(99))
    assert shop.night(skus(9)).rows_vanished == 90


def test_records_after_the_damage_in_a_tar_do_not_vanish(tmp_path: Path) -> None:
    whole, tar = _tar(20), tmp_path / "a.tar"
    config = RunConfig(
        source=SourceConfig(uris=(str(tar),), whole_catalog=True), output=OutputConfig(uri=str(tmp_path / "out"))
    )
    vanished = []
    for data in (whole, whole[: len(whole) // 2], _tar(19)):
        tar.write_bytes(data)
        plan = make_plan(config, FakeModel(), new_run_id(), 1)
        carry_out(plan)
        vanished.append(plan.rows_vanished)
    assert vanished == [0, 0, 2]  # last run: the 20th sample, and the placeholder record of the damage


def _tar(samples: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for i in range(samples):
            for suffix, data in (("jpg", bytes(3000)), ("txt", b"text")):
                info = tarfile.TarInfo(f"{i:03d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_limit_and_whole_catalog_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not the whole catalog: leave out limit or whole_catalog"):
        parse({"source": {"limit": 5, "whole_catalog": True}})
