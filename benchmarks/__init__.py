"""Benchmarks: hanclip against a bare loop that does the same work, and its parts against their goals.

    python -m benchmarks.embed tiny-640     docs/benchmarks.md has the commands of all; each has --help

Results go to benchmarks/results/ as JSON; `python -m benchmarks.figures` writes them into the pages.
"""
