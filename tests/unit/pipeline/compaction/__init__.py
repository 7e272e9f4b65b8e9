"""Tests of pipeline.compaction."""
