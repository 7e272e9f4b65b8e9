"""Finds the nearest stored vectors of a query, exactly or with an index."""
