"""Converts rows to payloads of Qdrant: JSON objects, whose lists can be matched element by element.

In: columns of a dataset, without the vectors. Out: a payload per row, and the id of its point.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pyarrow as pa

from pipeline.curation.values.arrow import with_hex_hash
from pipeline.curation.values.json_values import json_rows, json_type
from pipeline.curation.values.names import NameRules

#: A filter can put any key into quotes, but not escape one.
NAMES = NameRules("Qdrant", 'text without "', lambda name: bool(name) and '"' not in name)

#: What a value of an Arrow type becomes, in the words of the documentation.
type_name = json_type


def payloads(table: pa.Table) -> list[dict[str, Any]]:
    """The payload of each row, by column name; `image_phash` is 16 hex digits."""
    return json_rows(with_hex_hash(table))


def point_id(record_id: str) -> str:
    """The id of the point of a record: Qdrant takes integers and UUIDs only."""
    return str(uuid5(NAMESPACE_OID, record_id))
