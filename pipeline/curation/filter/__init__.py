"""Filters a dataset: rules over rows, and the rows that pass all of them."""
