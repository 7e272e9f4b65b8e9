"""Stores that fail for a while: what is tried again, and what an interrupted deletion leaves to the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import ForbiddenError, UnavailableError
from pipeline.storage import HostHealth, ReadPolicy


def failing(monkeypatch: pytest.MonkeyPatch, operation: str, errors: Sequence[Exception | None]) -> None:
    """The next calls of an operation of the store in memory raise `errors`; None lets one through."""
    real, left = getattr(MemoryFileSystem, operation), list(errors)

    def called(*args: object, **options: object) -> object:
        if left and (error := left.pop(0)):
            raise error
        return real(*args, **options)

    monkeypatch.setattr(MemoryFileSystem, operation, called)


def test_a_store_among_the_hosts_of_a_source_is_retried_like_any_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a web host two timeouts are enough, and after three lost objects one try; a bucket is waited for."""
    uri = "memory://failing/a.jpg"
    storage.overwrite(uri, b"image")
    policy = replace(ReadPolicy.of(SourceConfig(retry_timeout_s=30)), hosts=HostHealth())
    failing(monkeypatch, "cat_file", [TimeoutError()] * 2)
    assert storage.read_many([uri], policy) == [b"image"]
    failing(monkeypatch, "cat_file", [ConnectionError()] * 4)
    lost = [storage.read_many([uri], replace(policy, retry_timeout_s=0))[0] for _ in range(3)]
    assert all(isinstance(one, UnavailableError) for one in lost)
    assert storage.read_many([uri], policy) == [b"image"]


def test_a_deletion_that_was_interrupted_is_finished_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def uri_of(number: int) -> str:
        return f"memory://numbered/{number}"

    for number in range(5):
        storage.overwrite(uri_of(number), b"")
    failing(monkeypatch, "rm_file", [None, PermissionError()])
    with pytest.raises(ForbiddenError):
        storage.delete_numbered(uri_of, 2)
    storage.delete_numbered(uri_of, 2)
    assert [storage.exists(uri_of(number)) for number in range(5)] == [True, True, False, False, False]
