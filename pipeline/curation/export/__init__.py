"""Exports a dataset's ids and vectors to other formats: one module per format in `targets`, listed in `registry`."""
