"""Random histories against an oracle: after each sync the database holds exactly the ids, values and vectors it should.

Between syncs a dataset gets new rows, new states, failures, late shards, deletions, returns and compactions; every
third history keeps only the rows that a table of duplicates keeps, every third one sends the vectors of texts, which
some rows lack. Four syncs in ten are cut off at a random request, before it reaches the database or when its answer is
lost, and the next one goes on. After each sync a repeat sends nothing. Exits with 1 at the first difference.

PostgreSQL with pgvector comes from the wheel `pgserver`; the other two are packages that work in a local folder.

    python -m benchmarks.sync_histories --to qdrant --histories 1000
    python -m benchmarks.sync_histories --to lance --histories 1000
    python -m benchmarks.sync_histories --to pgvector --histories 1000
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reporting import Goal, save
from pipeline.curation.sync.contract import SyncTarget
from pipeline.curation.sync.registry import connector
from pipeline.curation.sync.run import sync_target
from pipeline.curation.sync.settings import SyncSettings
from tests.fixtures.faults import WRITES, FaultyTarget, LostRequestError
from tests.fixtures.histories import READERS, Content, History, assert_holds, expected, read_points
from tests.fixtures.servers.postgres import Postgres, pgvector_binaries

SYNCS, STEPS = 3, 3
#: Requests of a sync that may be cut off; most have fewer.
_REQUESTS = 9
#: Share of the syncs that are.
_CUT_OFF = 0.4
_EVERY = 50


@dataclass(frozen=True)
class Place:
    """An empty database: its name, where it is, a function that connects to it, and one that reads given vectors.

    A target stays open until its process would be gone.
    """

    to: str
    dest: str
    connect: Callable[[], SyncTarget]
    read: Callable[[SyncTarget, Sequence[str]], Iterator[tuple[str, Content]]]

    @classmethod
    def real(cls, to: Any, dest: str) -> Place:
        """A database at `dest`."""

        def read(target: Any, names: Sequence[str]) -> Iterator[tuple[str, Content]]:
            # A second client may not open the folder of a local Qdrant.
            return read_points(target._client, names) if to == "qdrant" else READERS[to](dest, names)

        return cls(to, dest, lambda: connector(to)(dest, "hanclip"), read)


@dataclass
class Life:
    """A history and the database that follows it. `happened` counts what happened."""

    history: History
    place: Place
    settings: SyncSettings
    happened: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, seed: int, folder: Path, place: Place) -> Life:
        """A random one."""
        history, texts = History(str(folder / "out"), seed), seed % 3 == 2
        given = {
            "to": place.to,
            "dest": place.dest,
            "where": "keep" if seed % 3 == 1 else None,
            "vectors": "text" if texts else "both" if seed % 2 else "image",
            "batch_rows": history.draw.choice([1, 3, 100]),
        }
        return cls(history, place, SyncSettings.model_validate(given))

    def live(self) -> Counter[str]:
        """Let it pass. Raises AssertionError at a difference."""
        target = self.place.connect()
        try:
            self.history.night()
            for _ in range(SYNCS):
                for _ in range(self.history.draw.randint(0, STEPS)):
                    self.happened[self.history.step()] += 1
                self._decide()
                while not self._synced(target):
                    target.close()
                    target = self.place.connect()
                again = sync_target(self.history.out, self.settings, target)
                assert not WRITES & again.requests.keys(), again
                self._check(target)
        finally:
            target.close()
        return self.happened

    def _synced(self, target: SyncTarget) -> bool:
        """Sync; false if that was cut off, after which the dataset may change again."""
        draw = self.history.draw
        cut = draw.randint(1, _REQUESTS) if draw.random() < _CUT_OFF else 0
        try:
            done = sync_target(self.history.out, self.settings, FaultyTarget(target, cut, draw.random() < 0.5))
        except LostRequestError as lost:
            self.happened[f"cut off {lost}"] += 1
            if draw.random() < 0.5:
                self.history.night()
                self._decide()
            return False
        sent = {name: getattr(done, name) for name in ("inserted", "replaced", "deleted")}
        self.happened.update({"syncs": 1, f"compared {done.compared}": 1, "resumed": int(done.resumed), **sent})
        return True

    def _decide(self) -> None:
        if self.settings.where:
            self.history.decide()

    def _check(self, target: SyncTarget) -> None:
        names = {"text": ["text_embedding"], "image": ["image_embedding"]}.get(
            self.settings.vectors or "", ["image_embedding", "text_embedding"]
        )
        assert_holds(
            dict(self.place.read(target, names)), expected(self.history, names, self.settings.where is not None)
        )


@contextmanager
def places(to: str) -> Iterator[Callable[[Path], Place]]:
    """Gives a function from the folder of a history to an empty database."""
    if to != "pgvector":
        yield lambda folder: Place.real(to, str(folder / "database"))
        return
    import psycopg  # only here

    binaries = pgvector_binaries()
    if binaries is None:
        sys.exit("There is no PostgreSQL: pip install pgserver")
    server = Postgres(Path(tempfile.mkdtemp(prefix="hanclip-histories-")), binaries)
    server.start()
    url = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"

    def emptied(folder: Path) -> Place:
        with psycopg.connect(url) as connection:
            connection.execute("DROP TABLE IF EXISTS hanclip, hanclip_sync")
        return Place.real(to, url)

    try:
        yield emptied
    finally:
        server.stop()


def main() -> None:
    """Let all histories pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", choices=["qdrant", "lance", "pgvector"], default="qdrant")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    given = parser.parse_args()
    load_before, began_s, cpu_s = os.getloadavg()[0], time.monotonic(), time.process_time()
    happened: Counter[str] = Counter()
    with places(given.to) as place:
        for n, seed in enumerate(range(given.first, given.first + given.histories), 1):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    happened += Life.of(seed, Path(folder), place(Path(folder))).live()
                except AssertionError as error:
                    sys.exit(f"history {seed}: {error}")
            if n % _EVERY == 0:
                print(f"{n:,} histories, {happened['syncs']:,} syncs, {time.monotonic() - began_s:.0f} s", flush=True)
    used_s = time.process_time() - cpu_s
    row = {
        "to": given.to,
        "histories": given.histories,
        "syncs": happened["syncs"],
        "cut off": sum(count for name, count in happened.items() if name.startswith("cut off")),
        "inserted": happened["inserted"],
        "replaced": happened["replaced"],
        "deleted": happened["deleted"],
        "differences": 0,
        "cpu_s": round(used_s, 1),
        "cpu_s a history": round(used_s / given.histories, 3),
    }
    goals = [Goal(f"{given.to}: histories without a difference", given.histories, at_least=given.histories)]
    save(f"sync-histories-{given.to}", load_before, goals, [row], happened=dict(sorted(happened.items())))


if __name__ == "__main__":
    main()
