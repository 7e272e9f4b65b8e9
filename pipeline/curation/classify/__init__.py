"""Classifies stored image vectors zero-shot."""
