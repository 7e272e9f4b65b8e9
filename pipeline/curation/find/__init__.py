"""Answers whether a picture is in a dataset already."""
