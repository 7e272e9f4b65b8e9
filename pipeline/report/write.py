"""Writes the report of a dataset: one HTML page about its contents, and what to do about them.

In: a dataset. Out: the page, written completely or not at all. Sections are built one after the other; a section
without data (texts, duplicates, a filter) is left out or names the command that fills it. Pictures are read once, for
all sections together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.phases import OnPhase
from pipeline.report.columns.profile import ColumnProfile
from pipeline.report.columns.read import column_profiles
from pipeline.report.duplicates.pages import write_group_pages
from pipeline.report.material import Material
from pipeline.report.page import render
from pipeline.report.pictures import gaps_of, pictures, rows_in
from pipeline.report.sections.clusters import clusters
from pipeline.report.sections.columns import ColumnsSection, columns
from pipeline.report.sections.contents import images, texts
from pipeline.report.sections.counts import counts
from pipeline.report.sections.duplicates import duplicates
from pipeline.report.sections.kept import kept
from pipeline.report.sections.provenance import provenance
from pipeline.report.sections.quarantine import quarantine
from pipeline.report.sections.sample import sample
from pipeline.report.sections.similarity import similarity
from pipeline.report.sections.vector_map import vector_map

#: The sections from top to bottom: each is a template of this name, and a key of the catalog for its title.
_ORDER = (
    *("sample", "counts", "quarantine", "similarity", "duplicates"),
    *("kept", "clusters", "map", "images", "texts", "columns", "speed", "provenance"),
)
_ALWAYS = frozenset({"counts", "speed", "quarantine", "provenance"})


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A written report: location, size, numbers of rows, pictures and gaps, and what is known of each column.

    The last two are the number and the size of the pages of duplicates next to it.
    """

    uri: str
    size_bytes: int
    rows: int
    pictures: int
    gaps: int
    columns: list[ColumnProfile]
    duplicate_pages: int
    duplicate_bytes: int


def write_report(out: str, to: str, model: str | None, drops: int, on_phase: OnPhase) -> WrittenReport:
    """Write the report of the dataset at `out` to `to`.

    Args:
        out: the dataset.
        to: path or URL of the page.
        model: location of the dataset's model; only names of clusters need it.
        drops: how many dropped rows to show on further pages, each with the kept row that it duplicates.
        on_phase: reports progress.

    Raises:
        ConfigError, IdentityError: there is no folder for the page, or no dataset.
        StorageError, RunError: the dataset cannot be read, or the page cannot be written.
    """
    storage.check_file(to)
    with Material(out, on_phase) as material:
        sections = _sections(material, model)
        shown = list(rows_in(sections))
        on_phase(f"reading {len(shown):,} pictures", 0, None)
        album = pictures(material.dataset.uri, shown) if material.dataset.identity.has_images else {}
        pages = write_group_pages(material, to, drops if sections["duplicates"] else 0)
        gaps = gaps_of(album)
        html = render(
            "report.html.j2",
            **sections,
            order=[name for name in _ORDER if sections[name] or _explains_itself(name, material)],
            dataset=material.dataset,
            name=storage.name(material.dataset.uri),
            rows=material.rows,
            pictures=album,
            gaps=gaps,
            table=material.duplicates,
            group_pages=pages,
        ).encode()
    storage.overwrite(to, html)
    explored: ColumnsSection | None = sections["columns"]
    profiles = [one.profile for one in explored.columns] if explored else []
    return WrittenReport(
        to, len(html), material.rows, len(album), gaps.total(), profiles, pages.total, pages.size_bytes
    )


def _sections(material: Material, model: str | None) -> dict[str, Any]:
    """The values of each section, by its name."""
    material.on_phase("counting", 0, None)
    counted, profiles = counts(material), column_profiles(material)
    return {
        "sample": sample(material),
        "counts": counted,
        "speed": counted.runs,
        "quarantine": quarantine(material, counted.status),
        "images": images(material),
        "texts": texts(material),
        "similarity": similarity(material),
        "duplicates": duplicates(material),
        "kept": kept(material),
        "clusters": clusters(material, model),
        "columns": columns(profiles),
        "provenance": provenance(material),
        "map": vector_map(material, profiles.columns),
    }


def _explains_itself(name: str, material: Material) -> bool:
    """Whether the section has something to say without content."""
    return name in _ALWAYS or (name == "duplicates" and material.rows > 0 and material.dataset.identity.has_images)
