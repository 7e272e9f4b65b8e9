"""Makes a rule of a file of ids, such as those picked in a report, that keeps only these rows.

In: its address: text with one id in each line, or CSV or Parquet with the column `id`. Out: the rule. Some ids may be
strangers to the dataset, but not all of them: then they are something else, such as the lines of a table.
"""

from __future__ import annotations

import pyarrow.compute as pc

from pipeline.curation.filter.columns import LISTED
from pipeline.curation.filter.counts import FilterCounts
from pipeline.curation.filter.rules import IDS, FilterRule
from pipeline.curation.id_files import IdFile

_CURE = "Give text with one id in each line, or CSV or Parquet with the column id."


class ListedIds:
    """The distinct ids of the file at `uri`. Raises ConfigError, StorageError.

    Attributes:
        rule: is true for rows with one of the ids.
    """

    def __init__(self, uri: str) -> None:
        self._file = IdFile("--ids", uri, ("id",), _CURE)
        self._ids = pc.unique(self._file.read()["id"])
        if not len(self._ids):
            raise self._file.wrong(" holds no id")
        self.rule = FilterRule(IDS, LISTED, ids=self._ids)

    def refuse_strangers(self, counts: FilterCounts) -> None:
        """Raise ConfigError if no row has one of the ids; `counts` are those of rules with this one."""
        dropped = next(rule.dropped for rule in counts.rules if rule.name == IDS)
        if counts.rows and dropped == counts.rows:
            first = self._ids[0].as_py()
            raise self._file.wrong(f" has no id of the dataset: the first of its {len(self._ids):,} is {first!r}")
