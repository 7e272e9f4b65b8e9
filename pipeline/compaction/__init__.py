"""Compaction: rewrites the small files of a dataset as full ones, in place, while others read and write it."""
