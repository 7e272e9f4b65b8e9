"""Converts a dataset's columns to the types of each consumer: one module per consumer, usable without writing files."""
