"""Test `hanclip sync` on datasets with a random past: it ends at the latest state, wherever it is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.sync_histories import Life, Place
from pipeline.curation.sync.results import Synced
from pipeline.curation.sync.run import sync_target
from pipeline.curation.sync.session import SyncSession
from pipeline.curation.sync.settings import SyncSettings
from pipeline.curation.sync.targets.counted import CountedTarget
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError, RunError, UsageError
from pipeline.phases import ignore
from pipeline.scratch.workspace import Workspace
from pipeline.validation import validated
from tests.fixtures.datasets import an_identity
from tests.fixtures.faults import WRITES, FaultyTarget, LostRequestError, MemoryTarget
from tests.fixtures.histories import HISTORY_DIM, History

SETTINGS = SyncSettings(to="qdrant", dest="nowhere", batch_rows=1000)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Three nights."""
    history = History(str(tmp_path / "out"), 3)
    for _ in range(3):
        history.night()
    return history


@pytest.fixture
def target(history: History) -> MemoryTarget:
    """Holds these nights."""
    target = MemoryTarget()
    sync_target(history.out, SETTINGS, target)
    assert target.states() == history.rows()
    return target


def writes(done: Synced) -> set[str]:
    return WRITES & done.requests.keys()


@pytest.mark.parametrize("seed", range(3))
def test_each_sync_of_a_random_history_ends_at_the_latest_state(tmp_path: Path, seed: int) -> None:
    target = MemoryTarget()
    Life.of(seed, tmp_path, Place("qdrant", "nowhere", lambda: target, lambda _, names: target.contents(names))).live()


def test_a_sync_that_is_cut_off_at_any_request_is_finished_by_the_next_one(
    history: History, target: MemoryTarget
) -> None:
    before, kinds = history.rows(), set[str]()
    while kinds != {"inserted", "replaced", "deleted"}:
        history.night()
        history.vanish()
        dry = sync_target(history.out, SETTINGS, target, dry_run=True)
        kinds = {kind for kind in ("inserted", "replaced", "deleted") if getattr(dry, kind)}
    wanted = history.rows()
    assert wanted != before
    cut, at = 0, 0
    while cut == at:
        at += 1
        for after in (False, True):
            mine = target.copy()
            try:
                sync_target(history.out, SETTINGS, FaultyTarget(mine, at, after))
            except LostRequestError:
                cut = at
                assert sync_target(history.out, SETTINGS, mine).compared in ("changes", "nothing")
            assert mine.states() == wanted
            assert not writes(sync_target(history.out, SETTINGS, mine))
    assert cut == 7  # prepare, two watermarks, two kinds of rows, a deletion and the end


def test_a_first_sync_that_is_cut_off_sends_the_rest_only(history: History) -> None:
    one_by_one, target = SETTINGS.model_copy(update={"batch_rows": 1}), MemoryTarget()
    with pytest.raises(LostRequestError):
        sync_target(history.out, one_by_one, FaultyTarget(target, 5, after=True))
    assert len(target.rows) == 3  # after `prepare` and the watermark
    done = sync_target(history.out, one_by_one, target)
    assert (done.resumed, done.inserted) == (True, len(history.rows()) - 3)
    assert target.states() == history.rows()


@pytest.mark.parametrize("step", ["compact", "drop_superseded"])
def test_a_compaction_sends_nothing_and_asks_for_nothing(history: History, target: MemoryTarget, step: str) -> None:
    getattr(history, step)()
    done = sync_target(history.out, SETTINGS, target)
    assert done.requests.keys() == {"mark", "move_mark", "count"}
    assert (done.compared, done.inserted + done.replaced + done.deleted) == ("changes", 0)
    # A shard that was not synced is found in a shard that two compactions made of it and of others.
    before = history.rows()
    for one in ("night", step, "night", step):
        getattr(history, one)()
    done = sync_target(history.out, SETTINGS, target)
    assert target.states() == history.rows() != before
    assert done.requests["held_of"] == 1


def test_a_dry_run_counts_and_writes_nothing(history: History, target: MemoryTarget) -> None:
    history.night()
    dry = sync_target(history.out, SETTINGS, target, dry_run=True)
    assert not writes(dry)
    done = sync_target(history.out, SETTINGS, target)
    assert (dry.inserted, dry.replaced, dry.deleted) == (done.inserted, done.replaced, done.deleted) != (0, 0, 0)


def test_full_repairs_what_others_changed_in_the_database(history: History, target: MemoryTarget) -> None:
    ids = sorted(target.rows)
    del target.rows[ids[0]]
    target.rows[ids[1]]["source_fingerprint"] = "another"
    target.rows["foreign"] = dict(target.rows[ids[2]], id="foreign")
    assert sync_target(history.out, SETTINGS, target).compared == "nothing"
    done = sync_target(history.out, SETTINGS.model_copy(update={"full": True}), target)
    assert (done.inserted, done.replaced, done.deleted) == (1, 1, 1)
    assert target.states() == history.rows()


class DoubledTarget(MemoryTarget):
    """Holds some ids twice, as a database without unique keys after two syncs at the same time."""

    def __init__(self, of: MemoryTarget, twice: set[str]) -> None:
        self.rows, self.text, self.twice = dict(of.rows), of.text, twice

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        return pa.concat_tables([super().held_of(ids), super().held_of([id_ for id_ in ids if id_ in self.twice])])

    def remove(self, ids: Sequence[str]) -> None:
        super().remove(ids)
        self.twice -= set(ids)


def test_full_leaves_one_of_rows_that_are_there_twice(history: History, target: MemoryTarget) -> None:
    wanted, foreign = sorted(target.rows)[:2], "foreign"
    target.rows[foreign] = dict(target.rows[wanted[0]], id=foreign)
    doubled = DoubledTarget(target, {*wanted, foreign})
    done = sync_target(history.out, SETTINGS.model_copy(update={"full": True}), doubled)
    assert (done.inserted, done.replaced, done.deleted) == (0, 2, 1)
    assert (doubled.twice, doubled.states()) == (set(), history.rows())


def test_a_sample_of_more_rows_than_fit_into_memory_agrees(history: History, target: MemoryTarget) -> None:
    session = SyncSession(Dataset.open(history.out), SETTINGS, CountedTarget(target), ignore)
    with Workspace() as work:
        work.rows_at_once = len(target.rows) // 3
        changes = session.changes(None, work)
        changes.compare(target, 1000, sample=5)
        assert (changes.compared, changes.total) == (5, 0)


def test_a_shard_that_was_deleted_by_hand_makes_all_ids_compared(history: History, target: MemoryTarget) -> None:
    file = Dataset.open(history.out).files()[0]
    Path(file.uri).unlink()
    assert sync_target(history.out, SETTINGS, target).compared == "all"


def test_kept_rows_follow_the_table_of_duplicates(history: History) -> None:
    kept, target = SETTINGS.model_copy(update={"where": "keep"}), MemoryTarget()
    for _ in range(2):
        history.decide()
        sync_target(history.out, kept, target)
        assert target.rows.keys() == {id_ for id_, keep in history.kept.items() if keep}
        assert not writes(sync_target(history.out, kept, target))
    sync_target(history.out, SETTINGS, target)
    assert target.states() == history.rows()


def test_a_condition_has_a_time_limit(history: History) -> None:
    slow = "levenshtein(repeat('ab', 3000), repeat('ba', 3000)) > 0"
    with pytest.raises(UsageError, match="too long"):
        sync_target(history.out, SETTINGS.model_copy(update={"where": slow, "time_limit_s": 0.001}), MemoryTarget())


def test_an_unreadable_watermark_makes_all_ids_compared(history: History, target: MemoryTarget) -> None:
    target.text = "{"
    done = sync_target(history.out, SETTINGS, target)
    assert (done.compared, done.inserted + done.replaced + done.deleted) == ("all", 0)
    assert sync_target(history.out, SETTINGS, target).compared == "nothing"


def test_a_sync_stops_when_another_one_of_the_collection_begins(history: History, target: MemoryTarget) -> None:
    history.night()
    other = target.copy()
    sync_target(history.out, SETTINGS, other)

    class Overtaken(MemoryTarget):
        def finish(self) -> None:
            self.text = other.text

    mine = Overtaken()
    mine.rows, mine.text = target.rows, target.text
    with pytest.raises(RunError, match="Another sync"):
        sync_target(history.out, SETTINGS, mine)


@pytest.mark.parametrize(
    ("identity", "settings", "message"),
    [
        ({"weights_sha256": "9" * 64}, {}, "another model"),
        ({"model_sha256": "9" * 64}, {}, "another model"),
        ({"dim": 2 * HISTORY_DIM}, {}, "of 8 numbers"),
        ({}, {"vectors": "both"}, "--vectors"),
        ({}, {"columns": ("text",)}, "--column"),
        ({}, {}, "--full"),
    ],
    ids=["weights", "model", "dim", "vectors", "columns", "dataset"],
)
def test_what_the_collection_must_not_mix_is_refused(
    tmp_path: Path, target: MemoryTarget, identity: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    other = str(tmp_path / "other")
    Dataset.open_or_create(other, replace(an_identity(dim=HISTORY_DIM), **identity))
    with pytest.raises(UsageError, match=message):
        sync_target(other, SETTINGS.model_copy(update=settings), target)


def test_a_collection_without_a_watermark_is_taken_over_with_full_only(history: History, target: MemoryTarget) -> None:
    target.text = None
    with pytest.raises(UsageError, match="no sync made"):
        sync_target(history.out, SETTINGS, target)
    assert sync_target(history.out, SETTINGS.model_copy(update={"full": True}), target).inserted == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"dest": "postgresql://shop:secret@db/catalog"},
        {"dest": "https://secret@db"},
        {"collection": "hanclip_sync"},
        {"collection": "a b"},
    ],
)
def test_settings_that_cannot_be(changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        validated(SyncSettings, {"to": "qdrant", "dest": "d"} | changes, "wrong")
    assert "secret" not in str(refused.value)


def test_the_database_user_is_no_secret() -> None:
    assert SyncSettings(to="pgvector", dest="postgresql://shop@db/catalog").dest


def test_the_keys_of_few_ids_are_read_from_the_files_that_may_have_them(tmp_path: Path) -> None:
    """Of a dataset with an index of keys."""
    history = History(str(tmp_path / "out"), 5)
    while len(Dataset.open(history.out).files()) < 64:
        history.night()
    target = MemoryTarget()
    history.dataset.index_keys()
    sync_target(history.out, SETTINGS, target)
    history.vanish()
    history.night()
    assert layout.objects(history.out, layout.KEYS)
    assert sync_target(history.out, SETTINGS, target).compared == "changes"
    assert target.states() == history.rows()
