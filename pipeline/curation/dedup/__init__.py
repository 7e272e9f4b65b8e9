"""Finds duplicates: a ladder of rungs from equal bytes to near vectors; pairs form groups, and one row of each is kept.

    rows -> pairs of each rung (rung_pairs, pairs/) -> groups (union_find) -> decisions, keep -> OUT/dedup/dedup.parquet

`run.dedup` runs all steps. Each module is one step and imports none of the later ones.
"""
