"""Writes the figures of both READMEs and of docs/benchmarks.md from benchmarks/results, so that none is typed.

    python -m benchmarks.figures           # after a new result, and commit what changed

A page has a marker, `<!-- figures: NAME -->`, and `<!-- end of figures -->`; what is between them is replaced.
The newest result of each benchmark counts. tests/house/test_figures.py fails if a page is behind the results.
"""
