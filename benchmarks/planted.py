"""How many of the demo's planted faults `dedup` and `similarity` find with their defaults.

    python -m benchmarks.planted                 # embeds the demo catalog on a local Ray
    python -m benchmarks.planted --out out/      # uses an existing dataset of it, and writes its two tables

Duplicates: `demo/imperfections.json` names each copy and its original. A planted pair is found if both rows are in one
group. A dropped row is correct if it and the kept row show the same planted original; it counts as exact if its rung is
`bytes` or `pixels`. Wrong captions: the area under the ROC curve is the probability that a row with a wrong caption has
a lower value than one with its own caption, ties counting half, computed from the rank sum with NumPy.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.reporting import Goal, Row, markdown, save
from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.similarity.table import write_similarity
from pipeline.dataset.layout import dedup_uri, similarity_uri
from pipeline.model.files.find import demo_folder

FLAWS = Path(__file__).parent.parent / "demo" / "imperfections.json"
LOWEST = 120
_EXACT = ("bytes", "pixels")

Pair = tuple[str, str]


def auc(wrong: np.ndarray, right: np.ndarray) -> float:
    """The probability that a value of `wrong` is below one of `right`; ties count half."""
    _, place, counts = np.unique(np.concatenate([wrong, right]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = ranks[: len(wrong)].sum() - len(wrong) * (len(wrong) + 1) / 2
    return float(1 - above / (len(wrong) * len(right)))


def key(id_: str) -> str:
    """The key in `imperfections.json` of a row's id."""
    return id_.rpartition("/")[2]


def duplicates(out: str, flaws: dict[str, Any]) -> list[Row]:
    """Recall and precision of exact duplicates, of near ones, and of both."""
    rows = duckdb.sql(f"SELECT id, \"group\", rung, duplicate_of FROM '{dedup_uri(out)}'").fetchall()
    group = {key(id_): name for id_, name, _, _ in rows if name}
    claims = [(key(id_), key(stays), rung) for id_, _, rung, stays in rows if stays]
    exact = {(one["key"], one["original"]) for one in flaws["same_bytes"]}
    near = {(one["key"], one["original"]) for one in flaws["near_duplicates"]} - exact
    shows = dict(exact | near)
    right = [(rung, shows.get(one, one) == shows.get(other, other)) for one, other, rung in claims]
    return [
        _row("exact", exact, group, [ok for rung, ok in right if rung in _EXACT]),
        _row("near", near, group, [ok for rung, ok in right if rung not in _EXACT]),
        _row("both", exact | near, group, [ok for _, ok in right]),
    ]


def _row(planted: str, pairs: set[Pair], group: dict[str, str], right: list[bool]) -> Row:
    found = sum(group.get(one, one) == group.get(other, other) for one, other in pairs)
    return {
        "planted": planted,
        "pairs": len(pairs),
        "found": found,
        "recall": round(found / len(pairs), 4),
        "rows_dropped": len(right),
        "of_them_planted": sum(right),
        "precision": round(sum(right) / len(right), 4),
    }


def captions(out: str, flaws: dict[str, Any]) -> Row:
    """Ranks of the rows with a planted wrong caption among all rows with a caption."""
    planted = {one["key"] for one in flaws["wrong_captions"]}
    rows = duckdb.sql(
        f"SELECT id, similarity FROM '{similarity_uri(out)}' WHERE similarity IS NOT NULL ORDER BY similarity, id"
    ).fetchall()
    wrong = np.array([key(id_) in planted for id_, _ in rows])
    cosine = np.array([similarity for _, similarity in rows], np.float64)
    return {
        "rows": len(rows),
        "wrong": int(wrong.sum()),
        "auc": round(auc(cosine[wrong], cosine[~wrong]), 4),
        f"wrong_in_lowest_{LOWEST}": int(wrong[:LOWEST].sum()),
        f"share_of_lowest_{LOWEST}": round(float(wrong[:LOWEST].mean()), 4),
    }


def others(out: str, flaws: dict[str, Any]) -> list[tuple[str, str, str, float]]:
    """Dropped rows that were not planted, with the rows that they were matched to, least similar first."""
    known = {one["key"] for kind in ("same_bytes", "near_duplicates") for one in flaws[kind]}
    rows = duckdb.sql(
        f"SELECT id, duplicate_of, rung, round(cosine, 4) FROM '{dedup_uri(out)}' WHERE NOT keep ORDER BY cosine, id"
    ).fetchall()
    return [row for row in rows if not known & {key(row[0]), key(row[1])}]


def embed(out: str) -> None:
    """Embed the demo catalog in fp32, so that the figures are the same on every machine. Raises RuntimeError."""
    from flows.commands import embed as runs

    shipped = demo_folder().parent
    config = RunConfig(
        source=SourceConfig(uris=(str(shipped / "catalog"),)),
        model=ModelConfig(name="demo", dtype="fp32"),
        output=OutputConfig(uri=out),
    )
    if code := runs.embed(config, as_json=False, quiet=True):
        raise RuntimeError(f"Embedding the demo catalog ended with {code}: run `hanclip demo` to see why.")


def main() -> None:
    """Embed if needed, find, compare, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="dataset of the demo catalog; its dedup/ and similarity/ are written again")
    given = parser.parse_args()
    load, flaws = os.getloadavg()[0], json.loads(FLAWS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as work:
        out = given.out or f"{work}/out"
        if not given.out:
            embed(out)
        dedup(out, DedupSettings())
        write_similarity(out)
        rows, texts = duplicates(out, flaws), captions(out, flaws)
        goals = [
            Goal("recall of exact duplicates", rows[0]["recall"], at_least=1),
            Goal("recall of near duplicates", rows[1]["recall"], at_least=0.9),
            Goal("area under the ROC curve of wrong captions", texts["auc"], at_least=0.9),
        ]
        save("planted", load, goals, rows, captions=texts, others=others(out, flaws))
    print(f"\n{markdown([texts])}")


if __name__ == "__main__":
    main()
