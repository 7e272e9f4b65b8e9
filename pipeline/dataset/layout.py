"""The folder and file names of an output dataset. Nothing else knows them.

    OUT/_dataset.json                                            the identity
    OUT/_model.json                                              the model's parts, if they were recorded later
    OUT/embeddings/run_date=2026-11-21/<shard>.parquet           one committed shard
    OUT/_quarantine/run_date=2026-11-21/<shard>-<attempt>.parquet   its failed records, if it has any
    OUT/_plans/<number>.json                                     the log of plans, one entry each
    OUT/_cuts/<source>.parquet                                   what planning knows of a source, to skip what is done
    OUT/_compactions/<number>.json                               the log of compactions: which files do not count now
    OUT/_compactions/<name>/plan.parquet                         the plan of one compaction
    OUT/_tombstones/<run>.parquet                                ids gone from the whole catalog, or back in it
    OUT/_snapshot.json                                           in a snapshot: its dataset and the run that makes it
    OUT/_held.parquet                                            the records in quarantine now, to count on from
    OUT/_keys/<name>.files.parquet, <name>.keys.parquet          footers and keys of many files, to read in their place
    OUT/_jobs/<job>/                                             a job's request, progress and result
    OUT/_partitions/<key>.json                                   how the last run of a partition ended
    OUT/dedup/dedup.parquet                                      the duplicates, and the row that each one duplicates
    OUT/classes/<name>.parquet                                   labels and their probabilities
    OUT/similarity/similarity.parquet                            similarities and their ranks in the whole dataset
    OUT/filter/<name>/kept.parquet, dropped.parquet              rows that pass the rules; the others, and their rules
    OUT/_dedup/, OUT/_index/                                     state that dedup and search reuse
    OUT/_runs/<run>/                                             plan.parquet, records/, config.json, summary.json, ...

Parquet readers that walk OUT skip names with a leading dot or underscore.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pipeline import storage
from pipeline.errors import NotFoundError, did_you_mean

IDENTITY = "_dataset.json"
MODEL = "_model.json"
EMBEDDINGS = "embeddings"
QUARANTINE = "_quarantine"
PLANS = "_plans"
CUTS = "_cuts"
TOMBSTONES = "_tombstones"
COMPACTIONS = "_compactions"
SNAPSHOT = "_snapshot.json"
HELD = "_held.parquet"
KEYS = "_keys"
DEDUP = "dedup"
CLASSES = "classes"
SIMILARITY = "similarity"
RUNS = "_runs"
PLAN = "plan.parquet"
CONFIG = "config.json"
PROGRESS = "progress.json"
SUMMARY = "summary.json"
RECORDS = "records"

_DATA_FILE = re.compile(r"/run_date=(\d{4}-\d{2}-\d{2})/([0-9a-f]{32})(?:-([0-9a-f]{8}))?\.parquet$")


@dataclass(frozen=True, slots=True)
class DataFile:
    """An embeddings or a quarantine file, as listed.

    Attributes:
        uri: its address.
        shard_id, run_date: from its name.
        attempt: from its name; empty for an embeddings file.
        size_bytes, fingerprint: as in `storage.ObjectInfo`.
    """

    uri: str
    shard_id: str
    run_date: str
    attempt: str
    size_bytes: int
    fingerprint: str = ""


def embeddings_uri(out: str, run_date: str, shard_id: str) -> str:
    """The only name under which a shard can be committed."""
    return storage.join(out, EMBEDDINGS, f"run_date={run_date}", f"{shard_id}.parquet")


def quarantine_uri(out: str, run_date: str, shard_id: str, attempt: str) -> str:
    """The name of a quarantine file; it holds the attempt, so that no two attempts share a file."""
    return storage.join(out, QUARANTINE, f"run_date={run_date}", f"{shard_id}-{attempt}.parquet")


def run_uri(out: str, run_id: str) -> str:
    """Folder of one run."""
    return storage.join(out, RUNS, run_id)


def cuts_uri(out: str, source: str) -> str:
    """What planning knows of a source, given its digest."""
    return storage.join(out, CUTS, f"{source}.parquet")


def dedup_uri(out: str) -> str:
    """The table of duplicates."""
    return storage.join(out, DEDUP, "dedup.parquet")


def classes_uri(out: str, name: str) -> str:
    """The table of one classification."""
    return storage.join(out, CLASSES, f"{name}.parquet")


def similarity_uri(out: str) -> str:
    """The table of similarities in their dataset."""
    return storage.join(out, SIMILARITY, "similarity.parquet")


def tombstones_uri(out: str, run_id: str) -> str:
    """The tombstones of one run."""
    return storage.join(out, TOMBSTONES, f"{run_id}.parquet")


def tombstones(out: str) -> dict[str, storage.ObjectInfo]:
    """The tombstone files by run id, oldest run first."""
    found = (info for info in objects(out, TOMBSTONES) if info.uri.endswith(".parquet"))
    return dict(sorted((storage.name(info.uri).removesuffix(".parquet"), info) for info in found))


def objects(*parts: str) -> list[storage.ObjectInfo]:
    """All objects under a folder, sorted by URI; none if the folder does not exist."""
    try:
        return sorted(storage.list_objects(storage.join(*parts)), key=lambda info: info.uri)
    except NotFoundError:
        return []


def data_files(out: str, folder: str) -> list[DataFile]:
    """The data files in `folder` (EMBEDDINGS or QUARANTINE), recognised by name."""
    return list(_data_files(objects(out, folder), folder == QUARANTINE))


def foreign_objects(out: str, folder: str) -> list[str]:
    """URIs in `folder` that are no data files of hanclip."""
    infos = objects(out, folder)
    known = {file.uri for file in _data_files(infos, folder == QUARANTINE)}
    return [info.uri for info in infos if info.uri not in known]


def runs(out: str) -> dict[str, list[storage.ObjectInfo]]:
    """Objects of each run, by run id, oldest run first."""
    found: dict[str, list[storage.ObjectInfo]] = {}
    for info in objects(out, RUNS):
        _, _, rest = info.uri.rpartition(f"/{RUNS}/")
        found.setdefault(rest.partition("/")[0], []).append(info)
    return dict(sorted(found.items()))


def plans(found: Mapping[str, list[storage.ObjectInfo]]) -> dict[str, storage.ObjectInfo]:
    """The file of each finished plan by run id, of objects from `runs`."""
    return {run: info for run, infos in found.items() for info in infos if info.uri.endswith(f"/{run}/{PLAN}")}


def did_you_mean_dataset(out: str) -> str:
    """A question for a message about `out`, if a folder beside it on this machine has a name like it and a dataset."""
    address = storage.normalise(out)
    if not storage.is_local(address):
        return ""
    beside = storage.parent(address)
    with suppress(OSError), os.scandir(beside) as entries:
        names = (entry.name for entry in entries if os.path.exists(storage.join(entry.path, IDENTITY)))
        return did_you_mean(storage.name(address), names)
    return ""


def _data_files(infos: list[storage.ObjectInfo], attempts: bool) -> Iterator[DataFile]:
    for info in infos:
        match = _DATA_FILE.search(info.uri)
        if match and bool(match[3]) == attempts:
            yield DataFile(info.uri, match[2], match[1], match[3] or "", info.size_bytes, info.fingerprint)
