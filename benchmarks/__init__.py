"""Benchmarks: hanclip against a bare loop that does the same work. Every script has --help.

    python -m benchmarks.embed      images/s and CPU per image: bare loop, hanclip and its peers, in turns
    python -m benchmarks.plan       planning a million records: seconds and memory
    python -m benchmarks.memory     the driver's peak memory at 10^4 and 10^6 records
    python -m benchmarks.startup    CPU seconds of `hanclip --help`
    python -m benchmarks.stand_in   whether fast devices ever wait, shown without one
    python -m benchmarks.gpu        a whole run against the bare forward pass; skipped without an NVIDIA GPU

Results go to benchmarks/results/ as JSON; docs/benchmarks.md shows them.
"""
