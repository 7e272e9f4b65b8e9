"""Names the groups: a group keeps the name that an earlier run gave it, else it is called by its smallest id.

In: the table `members` (`_group`, `id`, `_name`). Out: one name per group, each once. A group that was split leaves its
name to the part with the most of its rows; of the names of groups that grew together, that of the most rows remains.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.curation.dedup.rows import Rows


def group_names(rows: Rows) -> pa.Array:
    """The name of each group, in the order of their numbers."""
    rows.work.store("named", _NAMED.format(own=rows.own))
    found = pa.Table.from_batches(
        rows.work.batches(_NAMES.format(own=rows.own)), pa.schema([("least", pa.string()), ("name", pa.string())])
    )
    names = found["name"].to_pylist()
    if None not in names:
        return found["name"].combine_chunks()
    taken = set(names)
    for place, least in enumerate(found["least"].to_pylist()):
        if names[place] is None:  # every id of this group is the name of another one
            number = 2
            while f"{least} ({number})" in taken:
                number += 1
            names[place] = f"{least} ({number})"
            taken.add(names[place])
    return pa.array(names, pa.string())


_NAMED = """
WITH counted AS (
    SELECT _group, _name, count(*) AS n, min(id) AS least FROM members
    WHERE row < {own} AND _name IS NOT NULL GROUP BY ALL
), won AS (
    SELECT * FROM counted QUALIFY row_number() OVER (PARTITION BY _name ORDER BY n DESC, least) = 1
)
SELECT _group, _name FROM won QUALIFY row_number() OVER (PARTITION BY _group ORDER BY n DESC, _name) = 1
"""
_NAMES = """
SELECT min(members.id) AS least, coalesce(
    any_value(named._name), min(members.id) FILTER (members.id NOT IN (SELECT _name FROM named))
) AS name
FROM members LEFT JOIN named USING (_group) WHERE members.row < {own} GROUP BY _group ORDER BY _group
"""
