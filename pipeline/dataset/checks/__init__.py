"""Checks of a dataset: its status from names and sizes, and a full audit of its files."""
