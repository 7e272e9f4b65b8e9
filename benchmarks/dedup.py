"""Near duplicates among 10^5 to 10^6 vectors: pairs found, seconds, CPU seconds and peak memory, against plain faiss.

    python -m benchmarks.dedup

Each search is a fresh process that starts from the dataset on the local disk, including imports, and ends with its
pairs on disk. `hanclip` is all of `hanclip dedup --rung image`, including its table. `ivf` is faiss in one process as
in its documentation: IndexIVFFlat with as many lists as hanclip has cells, range_search for all vectors, with the
smallest nprobe (1, 2, 4, ...) that reaches a recall of 0.99 on a sample. `flat` is faiss' IndexFlatIP.range_search:
every pair is compared. `peak_mib` is the largest resident set including mapped files, `peak_own_mib` without them.

`hanclip` runs with the default `--border` and with 0.5, which misses no pair. The last rows are the hardest neighbours
for cells: those that differ only in the four directions of the largest variance.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.child import measure
from benchmarks.near_vectors import DIM, near_vectors, write_dataset
from benchmarks.reporting import Goal, Row, save

_GOAL_RECALL = 0.99
_GOAL_EXPONENT = 1.2
_NOTHING_MISSED = 0.5
_HARDEST = 4
_SAMPLE = 2000
_BLOCK = 4096
_TIMEOUT_S = 7200.0

Pairs = npt.NDArray[np.int64]


def _all_vectors(out: str) -> npt.NDArray[np.float32]:
    """All vectors of the dataset, in the order of their image numbers."""
    from pipeline.curation.vectors import vector_blocks

    blocks = list(vector_blocks(out))
    numbers = np.array([int(id_.removeprefix("image-")) for block in blocks for id_ in block.ids])
    vectors = np.empty((len(numbers), DIM), np.float32)
    vectors[numbers] = np.concatenate([block.vectors for block in blocks])
    return vectors


def _keys(first: Pairs, second: Pairs, count: int) -> Pairs:
    """Pairs encoded as unique sorted integers."""
    apart = first != second
    low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
    return np.unique(low * count + high)


def hanclip(out: str, cosine: float, border: float) -> tuple[Pairs, Row]:
    """`hanclip dedup`, from scratch."""
    import pyarrow.parquet as pq

    from pipeline.curation.dedup.run import dedup
    from pipeline.curation.dedup.settings import DedupSettings, Rung

    shutil.rmtree(f"{out}/_dedup", ignore_errors=True)
    found = dedup(out, DedupSettings(rungs=(Rung.IMAGE,), image_cosine=cosine, border=border))
    table = pq.read_table(next(Path(out).glob("_dedup/*/vectors.parquet")), columns=["key", "near"])
    numbers = np.array([int(key, 16) for key in table["key"].to_pylist()])
    near = table["near"].combine_chunks()
    second = np.repeat(numbers, near.value_lengths().to_numpy())
    keys = _keys(numbers[near.flatten().to_numpy()], second, len(numbers))
    return keys, {"compared": found.compared, "dropped": found.dropped}


def ivf(out: str, cosine: float, border: float) -> tuple[Pairs, Row]:
    """An inverted file of faiss."""
    import faiss

    vectors = _all_vectors(out)
    lists = int(np.ceil(np.sqrt(3 * len(vectors))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = 40
    index.train(vectors)
    index.add(vectors)
    index.nprobe = _least_nprobe(index, vectors, cosine)
    return _range_search(index, vectors, cosine), {"nprobe": index.nprobe}


def _least_nprobe(index: object, vectors: npt.NDArray[np.float32], cosine: float) -> int:
    """The smallest number of lists with which a sample finds 0.99 of its pairs."""
    some = np.linspace(0, len(vectors) - 1, _SAMPLE).astype(np.int64)
    truth = int((vectors[some] @ vectors.T >= cosine).sum())
    nprobe = 1
    while True:
        index.nprobe = nprobe  # type: ignore[attr-defined]
        limits, _, _ = index.range_search(vectors[some], cosine)  # type: ignore[attr-defined]
        if (limits[-1] - _SAMPLE) >= _GOAL_RECALL * (truth - _SAMPLE):
            return nprobe
        nprobe *= 2


def flat(out: str, cosine: float, border: float) -> tuple[Pairs, Row]:
    """Every pair, by faiss."""
    import faiss

    vectors = _all_vectors(out)
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    return _range_search(index, vectors, cosine), {}


def _range_search(index: object, vectors: npt.NDArray[np.float32], cosine: float) -> Pairs:
    found = []
    for start in range(0, len(vectors), _BLOCK):
        limits, _, other = index.range_search(vectors[start : start + _BLOCK], cosine)  # type: ignore[attr-defined]
        one = start + np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        found.append(_keys(one, other.astype(np.int64), len(vectors)))
    return np.unique(np.concatenate(found))


def truth(out: str, cosine: float, border: float) -> tuple[Pairs, Row]:
    """Every pair, by NumPy; borderline ones are recomputed in float64."""
    vectors = _all_vectors(out)
    found = list(_true_pairs(vectors, cosine))
    return np.unique(np.concatenate(found)), {}


def _true_pairs(vectors: npt.NDArray[np.float32], cosine: float) -> Iterator[Pairs]:
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors[start:].T
        one, other = np.nonzero(scores >= cosine - 1e-5)
        one, other = one[other > one] + start, other[other > one] + start
        exact = np.einsum("ij,ij->i", vectors[one].astype(np.float64), vectors[other].astype(np.float64))
        yield _keys(one[exact >= cosine], other[exact >= cosine], len(vectors))


_WAYS: dict[str, Callable[[str, float, float], tuple[Pairs, Row]]] = {
    "truth": truth,
    "hanclip": hanclip,
    "ivf": ivf,
    "flat": flat,
}


def measured(way: str, name: str, work: Path, cosine: float, border: float) -> Row:
    """One row of the table, for the dataset of this name; its pairs are written to `work`."""
    pairs = work / f"{way}-{name}-{cosine}-{border}.npy"
    arguments = (way, f"{work}/{name}", str(cosine), str(border), str(pairs))
    cost = measure("-m", "benchmarks.dedup", "--child", *arguments, timeout_s=_TIMEOUT_S)
    return {
        "vectors": int(name.split("-")[0]),
        "differ_in": int(name.split("-")[1]) if "-" in name else DIM,
        "way": way,
        "cosine": cosine,
        "border": border if way == "hanclip" else None,
        "pairs": len(np.load(pairs)),
        "recall": _recall(pairs, work / f"truth-{name}-{cosine}-{_NOTHING_MISSED}.npy"),
        "wall_s": round(cost.wall_s, 1),
        "cpu_s": round(cost.cpu_s, 1),
        "peak_mib": round(cost.peak_mib),
        **{name: json.loads(cost.printed).get(name) for name in ("peak_own_mib", "compared", "nprobe")},
    }


def _recall(found: Path, true: Path) -> float | None:
    if not true.exists():
        return None
    wanted = np.load(true)
    return round(len(np.intersect1d(np.load(found), wanted)) / len(wanted), 5)


def _child(way: str, out: str, cosine: str, border: str, pairs: str) -> None:
    own_mib = [0.0]
    threading.Thread(target=_watch, args=(own_mib,), daemon=True).start()
    found, figures = _WAYS[way](out, float(cosine), float(border))
    np.save(pairs, found)
    print(json.dumps({**figures, "peak_own_mib": round(max(own_mib))}))


def _watch(own_mib: list[float]) -> None:
    """Record the memory of this process without mapped files, which the kernel can reclaim at any time."""
    while True:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        own_mib.append(int(found.group(1)) / 1024 if found else 0.0)
        time.sleep(0.05)


def _goals(rows: list[Row], border: float) -> list[Goal]:
    own = [row for row in rows if row["way"] == "hanclip" and row["border"] == border]
    ours = {row["vectors"]: row for row in own if row["differ_in"] == DIM}
    goals = [
        Goal(
            f"recall, {row['vectors']:,} vectors, neighbours in {row['differ_in']} directions",
            row["recall"],
            at_least=_GOAL_RECALL,
        )
        for row in own
        if row["recall"]
    ]
    for row in rows:
        if row["way"] in ("ivf", "flat"):
            ratio = row["wall_s"] / ours[row["vectors"]]["wall_s"]
            goals.append(Goal(f"{row['way']} / hanclip, seconds, {row['vectors']:,} vectors", ratio, at_least=1))
    small, large = min(ours), max(ours)
    if large > small:
        growth = ours[large]["cpu_s"] / ours[small]["cpu_s"]
        exponent = float(np.log(growth) / np.log(large / small))
        goals.append(Goal(f"exponent of CPU seconds, {small:,} to {large:,} vectors", exponent, at_most=_GOAL_EXPONENT))
    return goals


def main() -> None:
    """Measure every method and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", nargs="+", type=int, default=[100_000, 200_000, 1_000_000])
    parser.add_argument("--true-at", type=int, default=200_000, help="of how many vectors to compare every pair")
    parser.add_argument("--flat-up-to", type=int, default=100_000)
    parser.add_argument("--ivf-up-to", type=int, default=200_000, help="its seconds grow with the power 1.5")
    parser.add_argument("--cosine", type=float, default=0.985)
    parser.add_argument("--border", type=float, default=0.35)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks" / "dedup")
    parser.add_argument("--keep", action="store_true", help="leave the datasets there for the next time")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(*given.child)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    load, rows = os.getloadavg()[0], []
    for name, ways in _plan(given):
        if not (given.work / name).exists():
            write_dataset(given.work / name, near_vectors(*map(int, name.split("-"))))
        for way, border in ways:
            rows.append(measured(way, name, given.work, given.cosine, border))
            print(rows[-1], flush=True)
    reported = [row for row in rows if row["way"] != "truth"]
    save("dedup", load, _goals(reported, given.border), reported)
    if not given.keep:
        shutil.rmtree(given.work)


def _plan(given: argparse.Namespace) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Dataset names with their methods and borders; the baseline comes first."""
    truth, ours = ("truth", _NOTHING_MISSED), [("hanclip", given.border), ("hanclip", _NOTHING_MISSED)]
    for count in given.vectors:
        others = [("ivf", count <= given.ivf_up_to), ("flat", count <= given.flat_up_to)]
        first = [truth] if count == given.true_at else []
        yield str(count), first + ours + [(way, given.border) for way, chosen in others if chosen]
    yield f"{given.true_at}-{_HARDEST}", [truth, *ours]


if __name__ == "__main__":
    main()
