"""Random histories against an oracle: after each sync the database holds exactly the ids, values and vectors it should.

Between syncs a dataset gets new rows, new states, failures, late shards, deletions, returns and compactions; every
third history keeps only the rows that a table of duplicates keeps, every third one sends the vectors of texts, which
some rows lack. One sync in four is cut off at a random request, and the next one goes on. A last sync sends nothing.
Exits with 1 at the first difference.

python -m benchmarks.sync_histories --to qdrant --histories 1000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.curation.sync.contract import SyncTarget
from pipeline.curation.sync.registry import connector
from pipeline.curation.sync.run import sync_target
from pipeline.curation.sync.settings import SyncSettings
from tests.fixtures.faults import WRITES, FaultyTarget, LostRequestError
from tests.fixtures.histories import READERS, Content, History, assert_holds, expected

SYNCS, STEPS = 4, 4


@dataclass(frozen=True)
class Place:
    """A database: its name, where it is, a function that connects to it, and one that reads it for given vectors."""

    to: str
    dest: str
    connect: Callable[[], SyncTarget]
    read: Callable[[Sequence[str]], Iterator[tuple[str, Content]]]

    @classmethod
    def real(cls, to: Any, dest: str) -> Place:
        """A database that the client's package runs in a local folder."""
        return cls(to, dest, lambda: connector(to)(dest, "hanclip"), partial(READERS[to], dest))


def live(seed: int, folder: Path, place: Place) -> int:
    """Let one history pass; returns how often it was synced. Raises AssertionError at a difference."""
    history, done = History(str(folder / "out"), seed), 0
    kept_only, texts = seed % 3 == 1, seed % 3 == 2
    settings = SyncSettings.model_validate(
        {
            "to": place.to,
            "dest": place.dest,
            "where": "keep" if kept_only else None,
            "vectors": "text" if texts else "both" if seed % 2 else "image",
            "batch_rows": history.draw.choice([1, 3, 100]),
        }
    )
    names = {"text": ["text_embedding"], "image": ["image_embedding"]}.get(
        settings.vectors or "", ["image_embedding", "text_embedding"]
    )
    history.night()
    for _ in range(SYNCS):
        for _ in range(history.draw.randint(0, STEPS)):
            history.step()
        if kept_only:
            history.decide()
        done += _synced(history, settings, place)
        assert_holds(dict(place.read(names)), expected(history, names, kept_only))
    target = place.connect()
    try:
        last = sync_target(history.out, settings, target)
        assert not WRITES & last.requests.keys(), last
    finally:
        target.close()
    return done


def _synced(history: History, settings: SyncSettings, place: Place) -> int:
    """Sync, at times after attempts that are cut off."""
    attempts = 1
    while True:
        target = place.connect()
        cut = history.draw.randint(1, 9) if history.draw.random() < 0.25 else 0
        try:
            sync_target(history.out, settings, FaultyTarget(target, cut, history.draw.random() < 0.5))
        except LostRequestError:
            attempts += 1
            if history.draw.random() < 0.5:
                history.night()
                if settings.where:
                    history.decide()
        else:
            return attempts
        finally:
            target.close()


def main() -> None:
    """Let all histories pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", choices=["qdrant", "lance"], default="qdrant")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    given = parser.parse_args()
    began_s, syncs = time.monotonic(), 0
    for seed in range(given.first, given.first + given.histories):
        with tempfile.TemporaryDirectory() as folder:
            try:
                syncs += live(seed, Path(folder), Place.real(given.to, f"{folder}/database"))
            except AssertionError as error:
                sys.exit(f"history {seed}: {error}")
    seconds = time.monotonic() - began_s
    print(f"{given.histories:,} histories, {syncs:,} syncs to {given.to} in {seconds:.0f} s: no difference")


if __name__ == "__main__":
    main()
