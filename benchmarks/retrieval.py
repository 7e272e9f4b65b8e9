"""Exact search of 5,000 texts in 10^6 image vectors of 512 numbers, against a plain faiss IndexFlatIP on the same
cores.

    python -m benchmarks.retrieval

Each search runs in a separate process over the same vectors, which are generated in blocks from a seed; hanclip holds
one block at a time, faiss the whole index. Search time only, without filling faiss's index. The peak is the process's
largest resident set. Both must find the same ten scores; rounding may swap equal ones.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.reporting import Goal, Row, save
from pipeline.curation.evaluate.recall import NEAREST, TopK
from pipeline.curation.vectors import Vectors

DIM, BLOCK_ROWS = 512, 65536
_RATIO_AT_MOST = 1.5
_APART_AT_MOST = 1e-6


def vectors(seed: int, rows: int) -> Vectors:
    """(rows, DIM) unit vectors."""
    drawn = np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def blocks(rows: int) -> Iterator[Vectors]:
    """The images."""
    for first in range(0, rows, BLOCK_ROWS):
        yield vectors(1 + first, min(BLOCK_ROWS, rows - first))


def search_hanclip(queries: Vectors, images: int) -> tuple[float, np.ndarray]:
    """Seconds and the scores that our search found."""
    nearest, seconds = TopK(queries), 0.0
    for block in blocks(images):
        began_s = time.perf_counter()
        nearest.add(block)
        seconds += time.perf_counter() - began_s
    return seconds, nearest.scores


def search_faiss(queries: Vectors, images: int) -> tuple[float, np.ndarray]:
    """Seconds and the scores that faiss found."""
    import faiss

    index = faiss.IndexFlatIP(DIM)
    for block in blocks(images):
        index.add(block)
    began_s = time.perf_counter()
    scores, _ = index.search(queries, NEAREST)
    return time.perf_counter() - began_s, scores


def child(which: str, texts: int, images: int, found: Path) -> None:
    """Search once; print seconds and the peak."""
    seconds, scores = {"hanclip": search_hanclip, "faiss": search_faiss}[which](vectors(0, texts), images)
    np.save(found, scores)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({"seconds": seconds, "peak_mib": int(peak.group(1)) // 1024 if peak else 0}))


def main() -> None:
    """Measure alternately and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp/hanclip-benchmarks"))
    parser.add_argument("--child", choices=["hanclip", "faiss"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.child:
        child(given.child, given.texts, given.images, given.work / f"{given.child}.npy")
        return
    load = os.getloadavg()[0]
    runs: dict[str, list[Row]] = {"hanclip": [], "faiss": []}
    for _ in range(given.repeats):
        for which, repeats in runs.items():
            repeats.append(_measured(which, given.texts, given.images, given.work))
    apart = float(np.abs(np.load(given.work / "hanclip.npy") - np.load(given.work / "faiss.npy")).max())
    rows = [_row(which, repeats, given.texts, given.images) for which, repeats in runs.items()]
    ratio = rows[0]["seconds"] / rows[1]["seconds"]
    goals = [
        Goal("seconds, of faiss's", ratio, at_most=_RATIO_AT_MOST),
        Goal("largest difference of two scores", apart, at_most=_APART_AT_MOST),
    ]
    save("retrieval", load, goals, rows, runs=runs)


def _measured(which: str, texts: int, images: int, work: Path) -> Row:
    command = [sys.executable, "-m", "benchmarks.retrieval", "--child", which, "--work", str(work)]
    command += ["--texts", str(texts), "--images", str(images)]
    row: Row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return row


def _row(which: str, repeats: list[Row], texts: int, images: int) -> Row:
    """The best of the repeats, and the largest peak."""
    seconds = min(run["seconds"] for run in repeats)
    return {
        "search": which,
        "texts": texts,
        "images": images,
        "seconds": round(seconds, 2),
        "gflop_per_s": round(2 * DIM * texts * images / seconds / 1e9),
        "peak_mib": max(run["peak_mib"] for run in repeats),
    }


if __name__ == "__main__":
    main()
