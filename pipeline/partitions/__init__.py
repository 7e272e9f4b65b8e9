"""Partitions of a source template, usually days: which exist, which are due, and how the last run of each ended."""
