"""Runs a model's forward passes: rows of images and texts in from several threads, features out, in order."""
