"""`hanclip demo`: embed the catalog that ships with the model that ships, then search what was written.

In: `demo/` (in the checkout, or inside the wheel). Out: the run's summary, the nearest images of a few Chinese queries,
and the model's recall on the vendor whose drawings it has never seen, computed from the vectors in the output. Copies
and wrong captions, which the catalog holds on purpose, are left out of the search; `imperfections.json` names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from flows import runs
from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
from pipeline.dataset import Dataset
from pipeline.model.folders import demo_folder

QUERIES = 5
NEAREST = 5
RANKS = (1, 5, 10)
#: Lists of `imperfections.json` whose records would make a search or a recall say something else than it seems to.
LEFT_OUT = ("exact_duplicates", "near_duplicates", "wrong_captions")

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Gallery:
    """What is searched: N images and their captions.

    Attributes:
        ids, texts: N each.
        images, captions: (N, D) float32 of norm 1.
    """

    ids: list[str]
    texts: list[str]
    images: Vectors
    captions: Vectors


def run(out: str, queries: tuple[str, ...]) -> int:
    """Embed into `out`, search it for `queries` (five of the shipped ones if empty); the run's exit code."""
    shipped = demo_folder().parent
    code = runs.embed(
        RunConfig(
            source=SourceConfig(uris=(str(shipped / "catalog"),)),
            model=ModelConfig(name="demo"),
            output=OutputConfig(uri=out),
        ),
        as_json=False,
        quiet=False,
    )
    if code:
        return code
    metrics = json.loads((shipped / "model" / "metrics.json").read_text(encoding="utf-8"))
    asked = queries or tuple((shipped / "queries.txt").read_text(encoding="utf-8").splitlines()[:QUERIES])
    with Console(stderr=True).status("Searching: loading the model for the queries"):
        gallery = read_gallery(out, metrics["held_out_vendor"], shipped / "imperfections.json")
        vectors = encode(asked)
    console = Console(highlight=False)
    console.print(_answers(asked, vectors, gallery))
    for text in report(gallery, metrics):
        console.print(text, soft_wrap=True)
    return 0


def read_gallery(out: str, vendor: str, imperfections: Path) -> Gallery:
    """The embedded records of `vendor` in the dataset at `out`, without those that were spoiled on purpose."""
    flaws = json.loads(imperfections.read_text(encoding="utf-8"))
    left_out = {flaw["key"] for name in LEFT_OUT for flaw in flaws[name]}
    columns = ["id", "text", "vendor", "image_embedding", "text_embedding"]
    table = Dataset.open(out).embeddings(columns).to_table(columns=columns).sort_by("id")
    sound = [
        row_vendor == vendor and text is not None and key(record_id) not in left_out
        for record_id, text, row_vendor in zip(*(table[name].to_pylist() for name in columns[:3]), strict=True)
    ]
    rows = table.filter(np.array(sound))
    return Gallery(
        rows["id"].to_pylist(),
        rows["text"].to_pylist(),
        _matrix(rows["image_embedding"]),
        _matrix(rows["text_embedding"]),
    )


def key(record_id: str) -> str:
    """The tar key at the end of a record's id."""
    return record_id.rsplit("/", 1)[-1]


def _matrix(column: Any) -> Vectors:
    """A column of N fixed-size lists -> (N, D) float32."""
    flat: Vectors = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return flat.reshape(len(column), -1)


def encode(texts: Iterable[str]) -> Vectors:
    """Vectors of `texts`, (T, D), by the demo model on this machine."""
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip

    return ChineseClip.load(resolve(ModelConfig(name="demo")), dtype="fp32", device="cpu").encode_texts(list(texts))


def nearest(query: Vectors, gallery: Gallery) -> list[tuple[str, str, float]]:
    """Id, caption and similarity of the images nearest to one query vector (D,), best first."""
    similarities = gallery.images @ query
    best = np.argsort(-similarities, kind="stable")[:NEAREST]
    return [(gallery.ids[i], gallery.texts[i], float(similarities[i])) for i in best]


def recalls(gallery: Gallery) -> tuple[float, ...]:
    """Percent of captions that find their own image among the first 1, 5 and 10."""
    similarities = gallery.captions @ gallery.images.T
    rank = (similarities > similarities.diagonal()[:, None]).sum(1)
    return tuple(round(100 * float((rank < best).mean()), 1) for best in RANKS)


def report(gallery: Gallery, metrics: dict[str, Any]) -> list[str]:
    """Two lines: the recall in the dataset just written, and the one measured when the model was trained."""
    here, then = (" / ".join(f"{value:.1f}" for value in v) for v in (recalls(gallery), metrics["text_to_image"]))
    return [
        f"recall@1 / 5 / 10 on {metrics['held_out_vendor']}, whose drawings the model was not trained on:"
        f" {here} % (caption to image, {len(gallery.ids):,} candidates, computed from this dataset)",
        f"the same with bare names as queries, measured after training: {then} %"
        f" ({metrics['candidates']:,} candidates, from demo/model/metrics.json)",
    ]


def _answers(queries: Iterable[str], vectors: Vectors, gallery: Gallery) -> Table:
    table = Table(title="nearest images", title_justify="left")
    for name in ("query", "id", "caption"):
        table.add_column(name)
    table.add_column("similarity", justify="right")
    for query, vector in zip(queries, vectors, strict=True):
        for position, (record_id, text, similarity) in enumerate(nearest(vector, gallery)):
            table.add_row("" if position else query, record_id, text, f"{similarity:.3f}")
        table.add_section()
    return table
