"""Conditions of requests that take more memory or time than there is end, and the next one is answered."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.dataset import Dataset
from pipeline.errors import NotFoundError, RunError, UsageError
from pipeline.serving.search.conditions import RequestConditions
from tests.fixtures.datasets import an_identity, commit, some_records

MEMORY_MB = 512
GREEDY = (
    "repeat('a', 4000000000) = text",
    "len(list_resize([image_width], 1000000000)) > 3",
    "length(regexp_replace(repeat('a', 30000), 'a', repeat('b', 30000 + image_width), 'g')) > 3",
)
SLOW = "levenshtein(repeat('abcde', 40000), repeat('bcdea', 40000 + image_width)) > 0"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    dataset = Dataset.open_or_create(str(tmp_path_factory.mktemp("conditions") / "out"), an_identity())
    commit(dataset, 1, some_records(5))
    return dataset.uri


@pytest.fixture(scope="module")
def conditions() -> RequestConditions:
    """One for all tests: what one of them leaves must not harm the next."""
    return RequestConditions(MEMORY_MB)


def matching(conditions: RequestConditions, out: str, where: str, limit_s: float = 10) -> list[str]:
    with conditions.matching_rows(out, where, limit_s) as path:
        ids: list[str] = pq.read_table(path)["id"].to_pylist()
        return sorted(ids)


@pytest.mark.parametrize("where", GREEDY)
def test_a_condition_gets_no_more_memory_than_there_is_for_one(
    conditions: RequestConditions, out: str, where: str
) -> None:
    with pytest.raises(UsageError, match="more than 512 MB of memory: simplify it"):
        matching(conditions, out, where)


def test_a_call_that_nothing_interrupts_is_ended_in_time(conditions: RequestConditions, out: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(UsageError, match=r"longer than 0\.1 s: simplify it"):
        matching(conditions, out, SLOW, limit_s=0.1)
    assert time.monotonic() - began_s < 20
    assert matching(conditions, out, "id < 'item-00002'") == ["item-00000", "item-00001"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("string_agg(text, '') = 'a'", "aggregate"),
        ("unnest(range(1000000000)) = image_width", "UNNEST"),
        ("repeat(text, 400000000) = text", "Cannot create a string"),
        ("price > 3", "no column price"),
    ],
)
def test_a_wrong_condition_is_named_as_elsewhere(
    conditions: RequestConditions, out: str, where: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        matching(conditions, out, where)


def test_a_dataset_that_cannot_be_read_keeps_its_kind_of_error(conditions: RequestConditions, tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    commit(dataset, 1, some_records(5))
    [shard] = (tmp_path / "out" / "embeddings").rglob("*.parquet")
    shard.write_bytes(b"PAR1")
    with pytest.raises((NotFoundError, RunError), match="parquet"):
        matching(conditions, dataset.uri, "true")
