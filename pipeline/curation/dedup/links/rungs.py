"""Selects the rungs that apply to a dataset, and the columns and searches that they need."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.curation.dedup.links.likeness import EQUAL
from pipeline.curation.dedup.pairs.incremental import VectorSearch
from pipeline.curation.dedup.rows import usable
from pipeline.curation.dedup.settings import TEXT_RUNGS, DedupSettings, parts_of
from pipeline.curation.vectors import IMAGE, TEXT
from pipeline.dataset.identity import Identity
from pipeline.errors import UsageError, did_you_mean
from pipeline.vocabulary import Rung


def rungs_of(settings: DedupSettings, identity: Identity) -> tuple[str, ...]:
    """The rungs of the settings, strongest first; by default those that the dataset supports. Raises UsageError."""
    columns = set(identity.schema.names)
    missing = {rung for rung in Rung if not needs(rung) <= columns}
    if not settings.rungs:
        preferred = (Rung.BYTES, Rung.PIXELS, Rung.IMAGE) if identity.has_images else TEXT_RUNGS
        return tuple(str(rung) for rung in preferred if rung not in missing)
    for name in settings.rungs:
        for rung in parts_of(name):
            if rung in missing:
                lacks = ", ".join(sorted(needs(rung) - columns))
                raise UsageError(f"--rung {rung} needs {lacks}, which the dataset lacks: choose other rungs.")
    return tuple(sorted(set(settings.rungs), key=_strength))


def _strength(name: str) -> tuple[int, int, tuple[int, ...]]:
    """Sorts the strongest first: by the strongest part, then by how many parts must agree, then by the other parts."""
    places = tuple(list(Rung).index(part) for part in parts_of(name))
    return places[0], -len(places), places


def parts_in(rungs: Sequence[str]) -> tuple[Rung, ...]:
    """The rungs that these are made of, each once."""
    wanted = {part for name in rungs for part in parts_of(name)}
    return tuple(rung for rung in Rung if rung in wanted)


def needs(rung: Rung) -> set[str]:
    """Columns of the dataset that a rung compares."""
    return {
        Rung.BYTES: {"image_sha256"},
        Rung.PIXELS: {"image_pixels_xxh128"},
        Rung.PHASH: {"image_phash"},
        Rung.MIRRORED: {"image_phash"},
        Rung.IMAGE: {"image_pixels_xxh128", IMAGE},
        Rung.TEXT: {"text"},
        Rung.NEAR_TEXT: {"text", TEXT},
    }[rung]


def read_by(rungs: Sequence[str]) -> set[str]:
    """Columns of the rows that these rungs compare, without vectors."""
    return {name for rung in parts_in(rungs) for name in (needs(rung) - {IMAGE, TEXT}) | {EQUAL.get(rung, "id")}}


def searches(settings: DedupSettings, rungs: Sequence[str]) -> dict[Rung, VectorSearch]:
    """The searches for near vectors, for those of the rungs that need one."""
    available = {
        Rung.IMAGE: VectorSearch(IMAGE, settings.image_cosine, settings.border, settings.against),
        Rung.NEAR_TEXT: VectorSearch(TEXT, settings.text_cosine, settings.border, settings.against),
    }
    return {rung: search for rung, search in available.items() if rung in parts_in(rungs)}


def require_columns(settings: DedupSettings, identity: Identity) -> tuple[str, ...]:
    """The columns in which duplicates must agree. Raises UsageError for one that the dataset lacks."""
    names = [name for name in usable(identity.schema) if name not in identity.vector_columns]
    for name in settings.same:
        if name not in names:
            why, maybe = "the dataset has no such column", did_you_mean(name, names)
            if name in identity.schema.names:
                maybe, why = "", "SQL ignores case and takes it for another column, or for one that dedup adds"
            raise UsageError(f"--same {name}: {why}. {maybe}Choose among {', '.join(names)}.")
    return settings.same
