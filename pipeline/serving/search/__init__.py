"""Searches over a dataset that the server keeps open."""
