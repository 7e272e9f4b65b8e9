"""Writes the pairs around the thresholds of `hanclip dedup` as a page of pictures, so that a person can choose them.

In: a dataset and the survey of its pairs. Out: one HTML file, `OUT/dedup/suggest.html`, with the pictures of each pair.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import storage
from pipeline.curation.dedup.suggest import PairMember, SuggestedPair, ThresholdSuggestion
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.report.page import render
from pipeline.report.pictures import ShownRow, pictures
from pipeline.report.quantities import decimal


def write_suggest_page(out: str, found: Sequence[ThresholdSuggestion]) -> str:
    """Write the page of the dataset at `out`; returns its address. Raises StorageError."""
    dataset = Dataset.open(out)
    members = [
        member for one in found for band in one.bands for pair in band.examples for member in (pair.one, pair.other)
    ]
    shown = [_shown(member) for member in members] if dataset.identity.has_images else []
    html = render(
        "suggest.html.j2",
        dataset=dataset,
        name=storage.name(dataset.uri),
        found=found,
        rows_of=_rows_of,
        pictures=pictures(dataset.uri, shown),
    )
    page = storage.join(dataset.uri, layout.DEDUP, "suggest.html")
    storage.overwrite(page, html.encode())
    return page


def _rows_of(pair: SuggestedPair) -> list[ShownRow]:
    return [_shown(pair.one, decimal(pair.cosine, 4)), _shown(pair.other)]


def _shown(member: PairMember, note: str = "") -> ShownRow:
    return ShownRow(member.id, member.source_fingerprint, member.text, note)
