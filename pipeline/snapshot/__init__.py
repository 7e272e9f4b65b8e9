"""Snapshots: the latest state of a dataset, written as a clean, separate dataset."""
