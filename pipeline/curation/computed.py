"""Columns that conditions and orders may name and that are not stored: they follow from a row's stored columns.

In: the columns that a dataset has. Out: the computed columns that these allow, each with its SQL in DuckDB's dialect.
This is the only list of them: filters, `--keep-sql`, help and documentation take it from here. Plain Python, so that
help stays light.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

FORMAT = "format"
_PIXELS = ("image_width", "image_height")
_AREA = "(image_width::DOUBLE * image_height)"
#: The suffix of an image's name in lower case, before what servers append to it: `a.jpg?size=large`, `a.jpg!w800`.
SUFFIX = r"\.(?P<suffix>[a-z0-9]+)(?:\?.*|(?:[!&]|@[0-9])[^/]*|:(?:large|medium|small|thumb|orig))?$"
_SUFFIX = f"regexp_extract(lower(image_uri), '{SUFFIX}', 1)"
_BLANK = r"\s\p{Z}"
_KNOWN = rf"{_BLANK}\p{{Han}}\p{{Latin}}\p{{Nd}}"


@dataclass(frozen=True, slots=True)
class ComputedColumn:
    """One computed column.

    Attributes:
        name: as conditions call it. A stored column of this name comes first.
        type: Arrow's name of its type.
        sql: an expression over the columns in `needs`.
        needs: stored columns of hanclip; a dataset that lacks one of them does not have this column.
        help: what it is, in a few words.
        of_all_rows: the value depends on all rows, so it exists only where all are at hand.
    """

    name: str
    type: str
    sql: str
    needs: tuple[str, ...]
    help: str
    of_all_rows: bool = False


def _share(characters: str, others: bool = False) -> str:
    """Share of the characters of a text, without blanks, that are of a class, or are not."""
    found = f"length(regexp_replace(text, '[{'' if others else '^'}{characters}]', '', 'g'))"
    return f"{found} / nullif(length(regexp_replace(text, '[{_BLANK}]', '', 'g')), 0)"


_PERCENTILE = (
    "CASE WHEN similarity IS NOT NULL THEN 50.0 * (rank() OVER (PARTITION BY similarity IS NULL ORDER BY similarity) "
    "- 1 + count(*) OVER (PARTITION BY similarity IS NULL ORDER BY similarity)) "
    "/ count(*) OVER (PARTITION BY similarity IS NULL) END"
)

COMPUTED = (
    ComputedColumn("aspect_ratio", "double", "image_width / image_height", _PIXELS, "width by height"),
    ComputedColumn("megapixels", "double", f"{_AREA} / 1e6", _PIXELS, "millions of pixels"),
    ComputedColumn(
        "bytes_per_pixel",
        "double",
        f"image_bytes / {_AREA}",
        ("image_bytes", *_PIXELS),
        "encoded bytes by pixels; low for strong compression and for flat pictures",
    ),
    ComputedColumn(
        FORMAT,
        "string",
        f"CASE {_SUFFIX} WHEN 'jpg' THEN 'jpeg' WHEN 'jpe' THEN 'jpeg' WHEN 'tif' THEN 'tiff' WHEN 'heif' THEN 'heic' "
        f"ELSE nullif({_SUFFIX}, '') END",
        ("image_uri",),
        "`jpeg`, `png`, ..., by the suffix of the name",
    ),
    ComputedColumn(
        "percentile",
        "double",
        _PERCENTILE,
        ("similarity",),
        "of the similarity among all rows, 0 to 100; without `hanclip similarity`, which stores the same",
        of_all_rows=True,
    ),
    ComputedColumn("text_length", "int64", "length(text)", ("text",), "characters of the caption"),
    ComputedColumn("text_lines", "int64", "len(string_split(text, chr(10)))", ("text",), "its lines"),
    ComputedColumn(
        "text_urls", "int64", r"len(regexp_extract_all(text, '(?i)(https?://|\bwww\.)\S+'))", ("text",), "its URLs"
    ),
    ComputedColumn(
        "text_han", "double", _share(r"\p{Han}"), ("text",), "share of Chinese among its characters without blanks"
    ),
    ComputedColumn("text_latin", "double", _share(r"\p{Latin}"), ("text",), "the same of Latin letters"),
    ComputedColumn("text_digits", "double", _share(r"\p{Nd}"), ("text",), "the same of digits"),
    ComputedColumn(
        "text_other",
        "double",
        _share(_KNOWN, others=True),
        ("text",),
        "the same of all others: punctuation, emoji, other scripts",
    ),
)


def computed_columns(own: Collection[str], taken: Collection[str]) -> list[ComputedColumn]:
    """The computed columns of a dataset.

    Args:
        own: the columns that hanclip writes to it.
        taken: lower-case names of all its columns, which come first.
    """
    return [column for column in COMPUTED if {*column.needs} <= {*own} and column.name not in taken]
