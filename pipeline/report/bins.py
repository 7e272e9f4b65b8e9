"""Counts the values of a query in the bins of a histogram."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.scratch.workspace import Workspace


def binned(work: Workspace, value: str, source: str, edges: Sequence[float]) -> tuple[list[int], int]:
    """Values in each bin, and how many are beyond the edges and so in the outer ones.

    Args:
        work: holds the rows.
        value: of a row, as SQL; NULL is in no bin.
        source: the rows, as SQL.
        edges: of bins of one width, one more than there are bins.
    """
    last, width = len(edges) - 2, edges[1] - edges[0]
    rows = work.rows(
        f"SELECT least(greatest(floor((({value}) - {edges[0]!r}) / {width!r}), 0), {last})::INT AS bin, count(*), "
        f"count(*) FILTER (({value}) < {edges[0]!r} OR ({value}) > {edges[-1]!r}) "
        f"FROM {source} WHERE ({value}) IS NOT NULL GROUP BY bin"
    )
    found = {int(bin_): int(n) for bin_, n, _ in rows}
    return [found.get(i, 0) for i in range(last + 1)], sum(int(far) for *_, far in rows)
