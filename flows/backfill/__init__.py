"""Backfills: many partitions as groups of jobs, a bounded number at once."""
