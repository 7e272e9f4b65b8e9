"""Writes the pages that show every group of duplicates, in a folder next to the report.

In: the groups in both orders. Out: `size-1.html`, `near-1.html` and so on, each with whole groups and its own pictures,
so that no page grows with the dataset. A page that is opened from a disk cannot load data, so each is complete. Pages
of an earlier report that are left over are deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args
from urllib.parse import quote

from pipeline import storage
from pipeline.report.duplicates.groups import MOST_OF_A_GROUP, GroupKey, GroupOrder, ordered, read_groups
from pipeline.report.material import Material
from pipeline.report.page import render
from pipeline.report.pictures import pictures, rows_in

#: Dropped rows on a page; the last group of a page may exceed it.
_PER_PAGE = 48
#: Pages whose pictures are read at once.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class GroupPages:
    """The pages of a report.

    Attributes:
        folder: name of the folder, relative to the report, as in a link.
        counts: pages in each order.
        groups, dropped: how many groups, and dropped rows in them, are on the pages of either order.
        size_bytes: of all pages together.
    """

    folder: str
    counts: dict[GroupOrder, int]
    groups: int
    dropped: int
    size_bytes: int

    @property
    def total(self) -> int:
        """How many pages there are."""
        return sum(self.counts.values())


def write_group_pages(material: Material, report: str, most: int) -> GroupPages:
    """Write the pages of the report at `report`, with about `most` dropped rows in each order.

    Raises:
        StorageError: a page cannot be written.
    """
    counts: dict[GroupOrder, int] = {}
    shown, size_bytes = set[GroupKey](), 0
    for order in get_args(GroupOrder):
        keys = ordered(material, order, most) if most else []
        pages = list(_paged(keys))
        counts[order] = len(pages)
        shown.update(keys)
        for first in range(0, len(pages), _AT_ONCE):
            size_bytes += _write(material, report, order, pages, first)
    for order, last in counts.items():  # an earlier report had more
        storage.delete_numbered(partial(_uri, report, order), last + 1)
    folder = quote(storage.name(_folder(report)))
    return GroupPages(folder, counts, len(shown), sum(key.dropped for key in shown), size_bytes)


def _folder(report: str) -> str:
    return f"{report.removesuffix('.html')}-duplicates"


def _uri(report: str, order: GroupOrder, number: int) -> str:
    return f"{_folder(report)}/{order}-{number}.html"


def _paged(keys: Sequence[GroupKey]) -> Iterator[list[GroupKey]]:
    page: list[GroupKey] = []
    listed = 0
    for key in keys:
        page.append(key)
        listed += min(key.dropped, MOST_OF_A_GROUP)
        if listed >= _PER_PAGE:
            yield page
            page, listed = [], 0
    if page:
        yield page


def _write(material: Material, report: str, order: GroupOrder, pages: Sequence[list[GroupKey]], first: int) -> int:
    """Write the pages from number `first` on that are read at once; returns their size in bytes."""
    contents = [read_groups(material, keys) for keys in pages[first : first + _AT_ONCE]]
    shown = rows_in(contents) if material.dataset.identity.has_images else []
    on_page = max((len({row.key for row in rows_in(groups)}) for groups in contents), default=1)
    material.on_phase(f"reading {len(shown):,} pictures of duplicates", 0, None)
    album = pictures(material.dataset.uri, shown, on_page)
    size_bytes = 0
    for number, groups in enumerate(contents, first + 1):
        html = render(
            "groups.html.j2",
            name=storage.name(material.dataset.uri),
            dataset=material.dataset,
            report=f"../{quote(storage.name(report))}",
            order=order,
            number=number,
            pages=len(pages),
            groups=groups,
            pictures=album,
        ).encode()
        storage.overwrite(_uri(report, order, number), html)
        size_bytes += len(html)
    return size_bytes
