"""Writes the table of similarities: stored cosines in, a table with logit, percentile and chance out.

    logit       cosine * logit_scale, as the model computes it
    percentile  100 * (pairs of the dataset with a lower cosine + half of those with the same) / pairs
    chance      how often the text of another record reaches this cosine, see `chance`

Two passes over the latest rows read ids, texts and similarities, but no vectors; four bytes per row are in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.similarity.chance import Chance, sample_chance
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import IMAGE, KEY, TEXT, require_vectors
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.outcomes import footer_of
from pipeline.errors import UsageError
from pipeline.phases import OnPhase, OnRows, counted, ignore

Reals = npt.NDArray[np.float64]

#: Percentiles in the summary.
POINTS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)

SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in KEY),
        pa.field("similarity", pa.float32(), nullable=False),
        pa.field("logit", pa.float32(), nullable=False),
        pa.field("percentile", pa.float64(), nullable=False),
        pa.field("chance", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Survey:
    """The rows and the similarities of a dataset, from one pass over its keys.

    Attributes:
        rows: number of latest rows.
        cosines: ascending float32 cosines of the rows with an image and a text.
        states: `source_fingerprint` of the latest rows with the requested ids.
    """

    rows: int
    cosines: npt.NDArray[np.float32]
    states: dict[str, str]

    def percentiles(self, cosines: npt.NDArray[np.float32]) -> Reals:
        """The percentiles of these cosines among those of the dataset, 0 to 100; `cosines` must not be empty."""
        lower, upto = np.searchsorted(self.cosines, cosines, "left"), np.searchsorted(self.cosines, cosines, "right")
        percent: Reals = 50.0 * (lower + upto) / len(self.cosines)
        return percent

    def at(self, percent: float) -> float:
        """The cosine at a percentile, rounded down to one that occurs."""
        return float(self.cosines[int(percent / 100 * (len(self.cosines) - 1))])


@dataclass(frozen=True, slots=True)
class Point:
    """A percentile of the distribution, and a record with this very cosine."""

    percent: float
    similarity: float
    logit: float
    chance: float | None
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class SimilaritySummary:
    """A summary of the table.

    Attributes:
        pairs: its rows; records without a text have none.
        records_sampled, pairs_sampled, chance_mean, chance_std: of the mismatched pairs; 0 if there are none.
    """

    table: str
    rows: int
    pairs: int
    logit_scale: float
    records_sampled: int
    pairs_sampled: int
    chance_mean: float
    chance_std: float
    points: tuple[Point, ...] = ()


def logit_scale(dataset: Dataset) -> float:
    """The factor from cosines to the model's logits, from a shard's footer. Raises UsageError if there is no shard."""
    for file in dataset.files():
        return float(footer_of(file.uri)["logit_scale"])
    raise UsageError(f"The dataset at {dataset.uri} has no shard yet: run `hanclip embed` first.")


def survey(out: str, ids: Collection[str] = ()) -> Survey:
    """Survey the dataset at `out`, and find the states of `ids`. Raises StorageError, RunError."""
    has_pairs = "similarity" in Dataset.open(out).identity.schema.names
    requested, rows = pa.array(sorted(ids), pa.string()), 0
    states: dict[str, str] = {}
    parts: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)]
    for batch in latest(out, [*KEY, *(["similarity"] if has_pairs else [])]):
        rows += batch.num_rows
        if ids:
            found = batch.filter(pc.is_in(batch["id"], requested))
            states.update(zip(found["id"].to_pylist(), found["source_fingerprint"].to_pylist(), strict=True))
        if has_pairs:
            parts.append(batch["similarity"].drop_null().to_numpy())
    cosines = np.concatenate(parts)
    cosines.sort()
    return Survey(rows, cosines, states)


def write_similarity(out: str, on_phase: OnPhase = ignore) -> SimilaritySummary:
    """Write `OUT/similarity/similarity.parquet` over the latest rows of the dataset at `out`.

    Args:
        out: the dataset.
        on_phase: reports progress.

    Raises:
        UsageError: the dataset has no pairs of image and text.
        StorageError, RunError: it cannot be read or written.
    """
    dataset = Dataset.open(out)
    require_vectors(dataset, IMAGE, TEXT)
    found, scale = survey(out), logit_scale(dataset)
    if not len(found.cosines):
        raise UsageError(f"No record of the dataset at {dataset.uri} has a text: there are no pairs to compare.")
    chance = sample_chance(dataset)
    uri = layout.similarity_uri(dataset.uri)
    mismatched = (0, 0, 0.0, 0.0) if chance is None else (chance.records, len(chance.cosines), chance.mean, chance.std)
    summary = SimilaritySummary(uri, found.rows, len(found.cosines), scale, *mismatched)
    footer = {name: value for name, value in asdict(summary).items() if name not in ("table", "points")}
    examples: dict[float, tuple[str, str]] = {}
    on_rows = counted(on_phase, "Writing", len(found.cosines))
    tables = _tables(out, found, scale, chance, examples, on_rows)
    write_table(uri, SCHEMA, tables, {"similarity": footer})
    return replace(summary, points=tuple(_points(found, scale, chance, examples)))


def _tables(
    out: str,
    found: Survey,
    scale: float,
    chance: Chance | None,
    examples: dict[float, tuple[str, str]],
    on_rows: OnRows,
) -> Iterator[pa.Table]:
    """Yield the table's rows, and fill `examples` with a record of each percentile: of several, the first by id."""
    points = pa.array({found.at(percent) for percent in POINTS}, pa.float32())
    for batch in latest(out, [*KEY, "similarity", "text"]):
        pairs = batch.filter(batch["similarity"].is_valid())
        cosines = pairs["similarity"].to_numpy()
        for row in pairs.filter(pc.is_in(pairs["similarity"], points)).to_pylist():
            known = examples.get(row["similarity"])
            examples[row["similarity"]] = min(known or (row["id"], row["text"]), (row["id"], row["text"]))
        yield pa.table(
            {
                **{name: pairs[name] for name in KEY},
                "similarity": cosines,
                "logit": (cosines.astype(np.float64) * scale).astype(np.float32),
                "percentile": found.percentiles(cosines),
                "chance": pa.nulls(len(cosines), pa.float64()) if chance is None else chance.of(cosines),
            }
        )
        on_rows(pairs.num_rows)


def _points(
    found: Survey, scale: float, chance: Chance | None, examples: dict[float, tuple[str, str]]
) -> Iterator[Point]:
    for percent in POINTS:
        cosine = found.at(percent)
        reached = None if chance is None else float(chance.of(np.array([cosine], np.float32))[0])
        yield Point(percent, cosine, cosine * scale, reached, *examples[cosine])
