"""A snapshot: the latest state of a dataset, written as a clean dataset of its own."""
