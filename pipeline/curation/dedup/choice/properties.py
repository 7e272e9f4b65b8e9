"""Properties of a row's image that an order may name and that are no columns: its format, by the suffix of its name.

In: the columns that a dataset has. Out: further columns as SQL.
"""

from __future__ import annotations

import pyarrow as pa

FORMAT = "format"
_SUFFIX = r"regexp_extract(lower(image_uri), '\.([a-z0-9]+)$', 1)"
_BY_SUFFIX = (
    f"CASE {_SUFFIX} WHEN 'jpg' THEN 'jpeg' WHEN 'jpe' THEN 'jpeg' WHEN 'tif' THEN 'tiff' WHEN 'heif' THEN 'heic' "
    f"ELSE nullif({_SUFFIX}, '') END"
)


def properties(schema: pa.Schema) -> dict[pa.Field, str]:
    """The columns that `schema` allows, with their SQL; a column of the dataset with the same name is left alone."""
    found = {pa.field(FORMAT, pa.string()): _BY_SUFFIX} if "image_uri" in schema.names else {}
    taken = {name.lower() for name in schema.names}
    return {field: sql for field, sql in found.items() if field.name not in taken}
