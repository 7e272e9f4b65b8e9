"""Test `hanclip dedup` across nights: its stored state saves work and never changes a result, even after a kill."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.dedup.pairs import compare
from pipeline.curation.dedup.run import Deduplication, dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.vocabulary import Rung
from tests.fixtures.duplicates import DIM, EmbeddedCatalog, Picture, compared, components, groups_in, pictures, unit

#: Runs dedup and kills itself when the given phase starts.
KILLED = """
import os, signal, sys
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
def kill_in_phase(doing, done, total):
    if doing == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
dedup(sys.argv[1], DedupSettings(), on_phase=kill_in_phase)
"""
SETTINGS = DedupSettings()


def table(out: str) -> pa.Table:
    return pq.read_table(f"{out}/dedup/dedup.parquet")


def from_scratch(out: str, settings: DedupSettings = SETTINGS) -> pa.Table:
    """The table of a run without stored state; the state is restored afterwards."""
    shutil.move(f"{out}/_dedup", f"{out}/_kept")
    dedup(out, settings)
    shutil.rmtree(f"{out}/_dedup")
    shutil.move(f"{out}/_kept", f"{out}/_dedup")
    return table(out)


@pytest.fixture(scope="module")
def goods() -> dict[str, Picture]:
    return {f"sku-{n:05d}": one for n, one in enumerate(pictures(10500, 21))}


def test_each_night_compares_only_new_rows_and_matches_a_run_from_scratch(
    tmp_path: Path, goods: dict[str, Picture]
) -> None:
    catalog, ids = EmbeddedCatalog(tmp_path / "out"), sorted(goods)
    out = catalog.out

    def checked(new: int) -> Deduplication:
        summary = dedup(out, SETTINGS)
        kept = table(out)
        assert summary.new_vectors == new
        assert (summary.rows, summary.kept) == (kept.num_rows, pa.compute.sum(kept["keep"]).as_py())
        assert kept.equals(from_scratch(out))
        return summary

    catalog.night({id_: goods[id_] for id_ in ids[:500]})
    checked(500)
    catalog.night({id_: goods[id_] for id_ in ids[500:9000]})  # enough new rows for the cells to be rebuilt
    first = checked(8500)
    assert groups_in(table(out)) == components(*compared(out))
    changed = {id_: goods[ids[9000 + n]] for n, id_ in enumerate(ids[:300])}
    catalog.night(changed | {id_: goods[id_] for id_ in ids[9300:10000]}, failed=ids[400:450], gone=ids[500:900])
    second = checked(1000)
    assert second.compared < first.compared / 2
    assert groups_in(table(out)) == components(*compared(out))
    # Deleted rows return in their old state, now with new neighbours.
    catalog.night({id_: goods[id_] for id_ in [*ids[500:600], *ids[10000:]]})
    third = checked(600)
    assert third.rows == 9000 + 700 - 50 - 400 + 100 + 500
    assert dedup(out, SETTINGS).new_vectors == 0


def test_a_crowd_is_linked_by_few_pairs_even_after_losing_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "CROWD", 3)
    draw = np.random.default_rng(4)
    centre = draw.standard_normal(DIM)
    # A chain of three crowds, each near only the next; every picture has different bytes.
    step = 0.09 * np.linalg.norm(centre) * unit(draw.standard_normal(DIM))
    crowd = [
        Picture(v)
        for place in range(3)
        for v in unit(centre + place * step + 0.0023 * np.linalg.norm(centre) * draw.standard_normal((150, DIM)))
    ]
    goods = {f"print-{n:03d}": crowd[n] for n in draw.permutation(450)}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night(goods)
    dedup(catalog.out, SETTINGS)
    ids, pairs = compared(catalog.out)
    assert groups_in(table(catalog.out)) == components(ids, pairs)
    state = pq.read_table(next(Path(catalog.out).glob("_dedup/*/vectors.parquet")))
    stored = sum(len(near) for near in state["near"].to_pylist())
    assert stored < 0.1 * len(pairs)
    others = {f"other-{n}": one for n, one in enumerate(pictures(20, 5, near=0))}
    for night in range(4):
        goods_left = sorted(goods)[:: 2 + night]
        catalog.night({"other-0": others["other-0"]} if night else others, gone=goods_left, shards=1)
        goods = {id_: one for id_, one in goods.items() if id_ not in goods_left}
        dedup(catalog.out, SETTINGS)
        kept = table(catalog.out)
        assert groups_in(kept) == components(*compared(catalog.out))
        assert kept.equals(from_scratch(catalog.out))


@pytest.mark.parametrize(("damaged", "kept"), [("vectors.parquet", 0), ("vectors.parquet", -99), ("space-*.npz", 99)])
def test_a_damaged_state_is_rebuilt(tmp_path: Path, damaged: str, kept: int) -> None:
    some = {f"sku-{n:03d}": one for n, one in enumerate(pictures(60, 9))}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night(some, shards=1)
    dedup(catalog.out, SETTINGS)
    whole = table(catalog.out)
    for path in Path(catalog.out).glob(f"_dedup/*/{damaged}"):
        path.write_bytes(path.read_bytes()[:kept])
    assert dedup(catalog.out, SETTINGS).new_vectors == 60
    assert table(catalog.out).equals(whole)
    assert dedup(catalog.out, SETTINGS).new_vectors == 0


def test_a_state_without_its_space_file_is_rebuilt(tmp_path: Path) -> None:
    some = {f"sku-{n:03d}": one for n, one in enumerate(pictures(300, 9))}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night(some)
    dedup(catalog.out, SETTINGS)
    for path in Path(catalog.out).glob("_dedup/*/space-*.npz"):
        path.unlink()
    catalog.night({"sku-299": some["sku-299"]}, gone=sorted(some)[:50], shards=1)
    assert dedup(catalog.out, SETTINGS).rows == 250
    assert table(catalog.out).equals(from_scratch(catalog.out))


@pytest.fixture
def two_nights(tmp_path: Path, goods: dict[str, Picture]) -> tuple[EmbeddedCatalog, dict[str, Picture]]:
    """A catalog with its first night committed, and the goods of its second night."""
    catalog, ids = EmbeddedCatalog(tmp_path / "out"), sorted(goods)
    catalog.night({id_: goods[id_] for id_ in ids[:8500]})
    return catalog, {id_: goods[id_] for id_ in ids[8500:9500]}


def test_a_run_killed_in_any_phase_resumes_to_the_same_table(
    two_nights: tuple[EmbeddedCatalog, dict[str, Picture]],
) -> None:
    catalog, tonight = two_nights
    out = catalog.out
    for phases in (("Making cells", "Comparing vectors"), ("Placing vectors", "Grouping", "Writing the table")):
        before = table(out) if Path(out, "dedup").exists() else None
        for phase in phases:
            done = subprocess.run([sys.executable, "-c", KILLED, out, phase], check=False)
            assert done.returncode == -signal.SIGKILL, phase
            assert before is None or table(out).equals(before)
        dedup(out, SETTINGS)
        assert table(out).equals(from_scratch(out))
        assert table(out).num_rows == (8500 if before is None else 9500)
        if before is None:
            catalog.night(tonight)


def test_concurrent_runs_leave_one_correct_table(tmp_path: Path, goods: dict[str, Picture]) -> None:
    catalog, ids = EmbeddedCatalog(tmp_path / "out"), sorted(goods)
    catalog.night({id_: goods[id_] for id_ in ids[:1500]})
    script = "import sys; from flows.cli import main; main(['dedup', sys.argv[1], '--json'])"
    for _ in range(2):
        both = [subprocess.Popen([sys.executable, "-c", script, catalog.out]) for _ in range(2)]
        assert [one.wait() for one in both] == [0, 0]
        assert table(catalog.out).equals(from_scratch(catalog.out))
        assert len(list(Path(catalog.out).glob("_dedup/*/space-*.npz"))) == 1
        assert dedup(catalog.out, SETTINGS).new_vectors == 0
        catalog.night({id_: goods[id_] for id_ in ids[1500:2000]})


def test_the_table_is_the_same_on_ray(
    two_nights: tuple[EmbeddedCatalog, dict[str, Picture]], local_ray_address: str
) -> None:
    from flows.cli import main

    catalog, _ = two_nights
    dedup(catalog.out, SETTINGS)
    here = table(catalog.out)
    shutil.rmtree(f"{catalog.out}/_dedup")
    with pytest.raises(SystemExit) as ended:
        main(["dedup", catalog.out, "--address", local_ray_address, "--json"])
    assert not ended.value.code
    assert table(catalog.out).equals(here)


def test_the_table_is_the_same_in_a_bucket(s3: object, tmp_path: Path) -> None:
    some = {f"sku-{n}": one for n, one in enumerate(pictures(300, 9))}
    settings = DedupSettings(rungs=(Rung.BYTES, Rung.IMAGE))
    tables = []
    for out in (str(tmp_path / "out"), f"{s3.bucket()}/out"):  # type: ignore[attr-defined]
        catalog = EmbeddedCatalog(out)
        for night in (dict(list(some.items())[:200]), dict(list(some.items())[200:])):
            catalog.night(night, shards=2)
            summary = dedup(out, settings)
            assert summary.new_vectors == len(night)
        from pipeline import storage

        filesystem, path = storage.arrow_filesystem(summary.uri)
        tables.append(pq.read_table(path, filesystem=filesystem))
    assert tables[0].equals(tables[1])
