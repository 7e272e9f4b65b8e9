"""Nearest neighbours of a query among the stored vectors: exact, or with an index."""
