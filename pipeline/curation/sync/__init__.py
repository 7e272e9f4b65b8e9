"""Brings a vector database to the latest state of a dataset: one module per database in `targets`."""
