"""Filters: rules over rows, and the rows that pass all of them."""
