"""Compare two models on one catalog: the recalls that `hanclip evaluate` measured, and where the two disagree.

Usage: python compare.py A B, in a folder with A.json and B.json of `hanclip evaluate --json`, and datasets out/A, out/B
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.dataset import latest

SCORES = ("r1", "r5", "r10", "mean_recall")


def recalls(name: str) -> dict[str, dict[str, float]]:
    """The scores of each direction."""
    return {one["direction"]: one for one in json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))["results"]}


def nearest(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """For each caption the id of its nearest picture, and for each id its caption."""
    rows = latest(f"out/{name}", ["id", "text", "image_embedding", "text_embedding"]).read_all()
    rows = rows.filter(rows["text"].is_valid()).sort_by("id")
    ids, texts = rows["id"].to_pylist(), rows["text"].to_pylist()
    images, captions = (matrix(rows[column].to_pylist()) for column in ("image_embedding", "text_embedding"))
    best = (captions @ images.T).argmax(axis=1)
    return dict(zip(texts, (ids[i] for i in best), strict=True)), dict(zip(ids, texts, strict=True))


def matrix(vectors: list[list[float]]) -> npt.NDArray[np.float32]:
    """(N, D)."""
    return np.array(vectors, np.float32)


def main(a: str, b: str) -> None:
    """Print both."""
    first, second = recalls(a), recalls(b)
    print(f"{'recall, %':16}{'':14}" + "".join(f"{score:>12}" for score in SCORES))
    for direction in first:
        for name, found in ((a, first), (b, second)):
            print(
                f"{direction:16}{name:14}" + "".join(f"{found[direction].get(score, np.nan):12.1f}" for score in SCORES)
            )
    (best_a, texts), (best_b, _) = nearest(a), nearest(b)
    differ = [text for text in best_a if best_a[text] != best_b[text]]
    print(f"\nanother nearest picture for {len(differ)} of {len(best_a)} captions; of these, right in one of the two:")
    lost = [text for text in differ if texts[best_a[text]] == text]
    won = [text for text in differ if texts[best_b[text]] == text]
    for title, some in ((f"only in {a}", lost), (f"only in {b}", won)):
        print(f"  {title}: {len(some)}, such as {' | '.join(some[:3])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
