"""Selects the rungs that apply to a dataset, and the columns and searches that they need."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.curation.dedup.pairs.incremental import VectorSearch
from pipeline.curation.dedup.settings import TEXT_RUNGS, DedupSettings
from pipeline.curation.vectors import IMAGE, TEXT
from pipeline.dataset.identity import Identity
from pipeline.errors import UsageError
from pipeline.vocabulary import Rung


def rungs_of(settings: DedupSettings, identity: Identity) -> tuple[Rung, ...]:
    """The rungs of the settings, strongest first; by default those that the dataset supports. Raises UsageError."""
    columns = set(identity.schema.names)
    missing = {rung for rung in Rung if not needs(rung) <= columns}
    if not settings.rungs:
        preferred = (Rung.BYTES, Rung.PIXELS, Rung.IMAGE) if identity.has_images else TEXT_RUNGS
        return tuple(rung for rung in preferred if rung not in missing)
    for rung in settings.rungs:
        if rung in missing:
            lacks = ", ".join(sorted(needs(rung) - columns))
            raise UsageError(f"--rung {rung} needs {lacks}, which the dataset lacks: choose other rungs.")
    return tuple(rung for rung in Rung if rung in settings.rungs)


def needs(rung: Rung) -> set[str]:
    """Columns of the dataset that a rung compares."""
    return {
        Rung.BYTES: {"image_sha256"},
        Rung.PIXELS: {"image_pixels_xxh128"},
        Rung.PHASH: {"image_phash"},
        Rung.IMAGE: {"image_pixels_xxh128", IMAGE},
        Rung.TEXT: {"text"},
        Rung.NEAR_TEXT: {"text", TEXT},
    }[rung]


def searches(settings: DedupSettings, rungs: Sequence[Rung]) -> dict[Rung, VectorSearch]:
    """The searches for near vectors, for those of the rungs that need one."""
    available = {
        Rung.IMAGE: VectorSearch(IMAGE, settings.image_cosine, settings.border),
        Rung.NEAR_TEXT: VectorSearch(TEXT, settings.text_cosine, settings.border),
    }
    return {rung: search for rung, search in available.items() if rung in rungs}
