"""`hanclip demo`: embed the included catalog with the included model, then search it.

In: `demo/` (in the checkout, or inside the wheel). Out: the run's summary, the nearest images of a few Chinese queries,
and the model's recall on the held-out vendor, as `hanclip evaluate` computes it. Both exclude the copies and wrong
captions that the catalog contains on purpose; `imperfections.json` lists them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from flows.commands import embed as runs
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.config import ModelConfig, OutputConfig, RunConfig, SourceConfig
from pipeline.curation.evaluate.own_pairs import OwnPairs
from pipeline.curation.evaluate.row_filter import RowFilter
from pipeline.curation.evaluate.search import Direction, DirectionResult
from pipeline.curation.vectors import IMAGE, Vectors, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.model.files.find import demo_folder

QUERIES = 5
NEAREST = 5
#: Lists of `imperfections.json` with records that would distort a search or the recall.
LEFT_OUT = ("exact_duplicates", "near_duplicates", "wrong_captions")


@dataclass(frozen=True, slots=True)
class Gallery:
    """The images to search, N of them, with their captions.

    Attributes:
        ids, texts: N each.
        images: (N, D) float32 of norm 1.
    """

    ids: list[str]
    texts: list[str]
    images: Vectors


def run(out: str, queries: tuple[str, ...]) -> int:
    """Embed into `out` and search it for `queries`, by default five included ones; returns the run's exit code."""
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
    where = sound_rows(metrics["held_out_vendor"], shipped / "imperfections.json")
    with Console(stderr=True).status("Searching: loading the model for the queries"):
        with RowFilter(where, Dataset.open(out).identity.schema) as rows:
            gallery = read_gallery(out, rows)
            recall = OwnPairs(out, rows).evaluate(Direction.TEXT_TO_IMAGE)
        vectors = encode(asked)
    console = Console(highlight=False)
    print_table(_answers(asked, vectors, gallery), console)
    for text in report(recall, metrics):
        console.print(text, soft_wrap=True)
    return 0


def sound_rows(vendor: str, imperfections: Path) -> str:
    """The condition for the records of `vendor` that have a caption and no intended flaw."""
    flaws = json.loads(imperfections.read_text(encoding="utf-8"))
    left_out = sorted({flaw["key"] for name in LEFT_OUT for flaw in flaws[name]})
    keys = ", ".join(f"'{key}'" for key in left_out)
    return f"vendor = '{vendor}' AND text IS NOT NULL AND split_part(id, '/', -1) NOT IN ({keys})"


def read_gallery(out: str, rows: RowFilter) -> Gallery:
    """The rows of the dataset at `out` that pass the filter."""
    blocks = list(vector_blocks(out, IMAGE, ["text", *rows.columns]))
    parts = [rows.rows(block.rows) for block in blocks]
    table = pa.concat_tables(block.rows.take(part) for block, part in zip(blocks, parts, strict=True))
    images = np.concatenate([block.vectors[part] for block, part in zip(blocks, parts, strict=True)])
    return Gallery(table["id"].to_pylist(), table["text"].to_pylist(), images)


def encode(texts: Iterable[str]) -> Vectors:
    """Vectors of `texts`, (T, D), by the demo model on this machine."""
    # torch is loaded after the run, which uses it in other processes
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip

    return ChineseClip.load(resolve(ModelConfig(name="demo")), dtype="fp32", device="cpu").encode_texts(list(texts))


def nearest(query: Vectors, gallery: Gallery) -> list[tuple[str, str, float]]:
    """Id, caption and similarity of the images nearest to one query vector (D,), best first."""
    similarities = gallery.images @ query
    best = np.argsort(-similarities, kind="stable")[:NEAREST]
    return [(gallery.ids[i], gallery.texts[i], float(similarities[i])) for i in best]


def report(recall: DirectionResult, metrics: dict[str, Any]) -> list[str]:
    """Two lines: the recall in the new dataset, and the recall measured after training."""
    assert not isinstance(recall.result, str)
    here, then = (" / ".join(f"{value:.1f}" for value in v) for v in (recall.result.at, metrics["text_to_image"]))
    return [
        f"recall@1 / 5 / 10 on {metrics['held_out_vendor']}, which the model was not trained on:"
        f" {here} % (caption to image, {recall.candidates:,} candidates, computed from this dataset)",
        f"the same with bare names as queries, measured after training: {then} %"
        f" ({metrics['candidates']:,} candidates, from demo/model/metrics.json)",
    ]


def _answers(queries: Iterable[str], vectors: Vectors, gallery: Gallery) -> Table:
    table = Table(title="nearest images", title_justify="left")
    for name in ("query", "id", "caption"):
        table.add_column(name, no_wrap=name == "id", overflow="ellipsis" if name == "id" else "fold")
    table.add_column("similarity", justify="right")
    for query, vector in zip(queries, vectors, strict=True):
        for position, (record_id, text, similarity) in enumerate(nearest(vector, gallery)):
            table.add_row(*map(plain, ("" if position else query, record_id, text)), f"{similarity:.3f}")
        table.add_section()
    return table
