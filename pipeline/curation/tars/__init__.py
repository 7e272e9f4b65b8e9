"""Writes WebDataset tars from rows."""
