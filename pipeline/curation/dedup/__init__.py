"""Duplicates: a ladder of rungs from equal bytes to near vectors, groups of rows that hang together, one of each kept.

    rows -> equal, hashes, cells -> neighbours -> groups -> choice -> OUT/dedup/dedup.parquet

`run.dedup` goes the whole way; each module before it is one step and knows nothing of the later ones.
"""
