"""Test which files count while and after a compaction replaces some of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.dataset.compacted.log import CompactionEntry, CompactionState, compactions
from pipeline.dataset.dataset import COMPACTED, Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import CommittedError
from tests.fixtures.datasets import an_identity, commit, embedded_rows, provenance, some_records

OLD, NEW = f"{1:032x}", f"{2:032x}"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """One small shard, and the full shard that replaces it."""
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    commit(dataset, 1, some_records(3))
    commit(dataset, 2, some_records(3))
    return dataset


def enter(dataset: Dataset, state: CompactionState, **lists: tuple[str, ...]) -> None:
    log = compactions(dataset.uri)
    number, _ = log.newest()
    entry = CompactionEntry.model_validate({"compaction": "c", "state": state, "at": datetime.now(UTC), **lists})
    log.append(number + 1, entry)


def test_new_files_count_from_the_switch_on_and_replaced_ones_do_not(dataset: Dataset) -> None:
    enter(dataset, "writing", hidden=(NEW,), writing=(NEW,))
    before = dataset.committed()
    assert (before.present, before.ever, before.settled, before.replaced) == ({OLD}, {OLD}, {OLD}, frozenset())
    enter(dataset, "switched", hidden=(OLD,), added=(NEW,))
    after = dataset.committed()
    assert (after.present, after.ever, after.settled, after.replaced) == ({NEW}, {OLD, NEW}, {OLD, NEW}, {OLD})
    enter(dataset, "cleaned", hidden=(OLD,), added=(NEW,), lossy=True)  # type: ignore[arg-type]
    assert dataset.committed().settled == {NEW}


def test_a_switch_during_the_listing_is_noticed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file appears after the folder was listed; the entry that names it is read."""
    [new] = Path(dataset.uri).glob(f"embeddings/*/{NEW}.parquet")
    aside = new.rename(new.with_suffix(".later"))
    enter(dataset, "switched", hidden=(OLD,), added=(NEW,))
    read = type(compactions("")).newest

    def late(log: object) -> object:
        if aside.exists():
            aside.rename(new)
        return read(log)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.storage.numbered.NumberedLog.newest", late)
    assert dataset.committed().present == {NEW}


def test_a_deleted_new_file_leaves_its_records_to_be_planned(dataset: Dataset) -> None:
    enter(dataset, "switched", hidden=(OLD,), added=(NEW,))
    next(Path(dataset.uri).glob(f"embeddings/*/{NEW}.parquet")).unlink()
    found = dataset.committed()
    assert (found.missing, found.settled, found.ever) == ({NEW}, frozenset(), {OLD})


def test_a_replaced_shard_is_not_committed_again(dataset: Dataset) -> None:
    """A driver that planned it long ago finds it committed, although its file is deleted."""
    enter(dataset, "switched", hidden=(OLD,), added=(NEW,))
    next(Path(dataset.uri).glob(f"embeddings/*/{OLD}.parquet")).unlink()
    assert len(dataset.files()) == 1
    table = embedded_rows(some_records(3), dataset.identity)
    with pytest.raises(CommittedError) as found:
        dataset.write_shard(OLD, "2026-11-21", table, QUARANTINE.empty_table(), provenance(3))
    assert found.value.run_id == COMPACTED
