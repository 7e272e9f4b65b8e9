"""Latency and memory of `POST /v1/search` over a million vectors of 512 numbers: with an index, exact, with conditions.

python -m benchmarks.search
python -m benchmarks.search --rows 100000 --seconds 2

The vectors are distributed like those of a CLIP model (`benchmarks/near_vectors.py`). ivf is the default index, flat
compares every vector. Queries are vectors: encoding a text would add a pass of the model. Datasets and indexes are kept
in the work folder, three times the size of the vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import measure
from benchmarks.near_vectors import near_vectors, write_dataset
from benchmarks.reporting import Goal, Row, save
from benchmarks.serve.hosts import Load, Running, ask, running
from pipeline.curation.search.index.files import read_facts
from pipeline.curation.vectors import IMAGE, Vectors

_KINDS = ("ivf", "flat")
_CLIENTS = (1, 8)
_QUERIES = 64
#: The fields of a request besides its query.
_NEAREST: Mapping[str, dict[str, Any]] = {
    "nearest 10": {},
    "nearest 10, with a column": {"with": "uri"},
    "nearest 100": {"top": 100},
}
#: A server has read nothing of the index when it starts: these searches wait for the disk.
_STARTED: Mapping[str, dict[str, Any]] = {"nearest 10, just started": {}}
_STARTED_S = 10.0
#: The first one with a condition takes seconds, which find the rows that meet it.
_CONDITIONS: Mapping[str, dict[str, Any]] = {
    "where, a tenth of the rows": {"where": "image_phash % 10 = 0"},
    "where, a thousandth": {"where": "image_phash % 1000 = 0"},
}
_CONDITION_S = 15.0
_P95_MS = 100


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--work", type=Path, default=Path("/tmp/hanclip-benchmarks"))
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    plain, queries = made(given.work, given.rows)
    rows: list[Row] = []
    indexes: dict[str, Row] = {}
    for kind in _KINDS:
        out = plain.with_name(f"{plain.name}-{kind}")
        indexes[kind] = indexed(plain, out, kind)
        with running(["-m", "benchmarks.search.server", str(out)]) as server:
            asked = [(what, fields, 1, _STARTED_S) for what, fields in _STARTED.items()]
            asked += [(what, fields, many, given.seconds) for what, fields in _NEAREST.items() for many in _CLIENTS]
            if kind == _KINDS[0]:
                asked += [(what, fields, 1, _CONDITION_S) for what, fields in _CONDITIONS.items()]
            for what, fields, many, seconds in asked:
                bodies = given.work / "bodies"
                bodies.write_bytes(b"\n".join(body(query, fields) for query in queries))
                load = Load(bodies, many, seconds, path="/v1/search")
                rows.append({"index": kind, "search": what} | measured(server, load))
                print(rows[-1], flush=True)
    save(f"search-{given.rows:.0e}".replace("+0", ""), load_before, list(goals(rows, indexes)), rows, indexes=indexes)


def made(work: Path, rows: int) -> tuple[Path, Vectors]:
    """The dataset without an index, and queries: vectors a little beside some of its own."""
    out, queries = work / f"search-{rows}", work / f"search-{rows}.npy"
    if not queries.exists():
        shutil.rmtree(out, ignore_errors=True)
        vectors = near_vectors(rows)
        write_dataset(out, vectors)
        draw = np.random.default_rng(1)
        beside = vectors[draw.choice(rows, _QUERIES)] + draw.standard_normal((_QUERIES, vectors.shape[1])) * 0.02
        np.save(queries, beside.astype(np.float32))
    found: Vectors = np.load(queries)
    return out, found


def indexed(plain: Path, out: Path, kind: str) -> Row:
    """The dataset at `out`, whose files are those of `plain`, with an index; what building it took, if it was built."""
    if not out.exists():
        shutil.copytree(plain, out, copy_function=os.link)
    facts = read_facts(str(out), IMAGE)
    row: Row = {"build_s": None, "build_cpu_s": None, "build_peak_mib": None}
    if facts is None:
        cost = measure("-m", "flows.cli", "index", str(out), "--kind", kind, timeout_s=1800)
        row = {"build_s": round(cost.wall_s), "build_cpu_s": round(cost.cpu_s), "build_peak_mib": round(cost.peak_mib)}
        facts = read_facts(str(out), IMAGE)
        assert facts
    return row | {"size_mib": facts.size_bytes // 2**20, "recall": round(facts.recall, 4), "effort": facts.effort}


def body(query: Vectors, fields: dict[str, Any]) -> bytes:
    """A request."""
    return json.dumps({"query": {"vector": query.tolist()}, **fields}).encode()


def measured(server: Running, load: Load) -> Row:
    """The measures of one kind of request."""
    seen, cpu_s = ask(server, load)
    return {
        "clients": load.clients,
        "searches_per_s": round(seen["answered"] / seen["seconds"], 2),
        **{f"p{percent}_ms": value for percent, value in zip((50, 95, 99), seen["answered_ms"], strict=True)},
        "cpu_ms": round(1000 * cpu_s / seen["answered"], 1) if seen["answered"] else None,
        "first_ms": round(1000 * seen["first_s"]) if seen["first_s"] else None,
        "failed": seen["refused"] + seen["failed"],
        **memory(server.root),
    }


def memory(process: int) -> Row:
    """Its own memory, and the pages of files that it reads through memory, which the system may take back."""
    status = Path(f"/proc/{process}/status").read_text()
    kib = {
        name: int(found.group(1))
        for name in ("RssAnon", "RssFile")
        if (found := re.search(rf"{name}:\s+(\d+)", status))
    }
    return {"own_mib": kib.get("RssAnon", 0) // 1024, "mapped_mib": kib.get("RssFile", 0) // 1024}


def goals(rows: list[Row], indexes: Mapping[str, Row]) -> Iterator[Goal]:
    """What a search should reach."""
    at = {(row["index"], row["search"], row["clients"]): row for row in rows}
    yield Goal("ms of a search with the index, 95 %", at["ivf", "nearest 10", 1]["p95_ms"], at_most=_P95_MS)
    yield Goal("recall of the index", indexes["ivf"]["recall"], at_least=0.99)
    yield Goal("failed searches", sum(row["failed"] for row in rows), at_most=0)


if __name__ == "__main__":
    main()
