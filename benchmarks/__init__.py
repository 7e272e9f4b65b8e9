"""What hanclip costs, measured against a bare loop of the same work; every script explains itself with --help.

    python -m benchmarks.embed      images/s and CPU per image: bare loop, hanclip, Ray Data, in turns
    python -m benchmarks.plan       planning a million records: seconds and memory
    python -m benchmarks.memory     the driver's peak memory at 10^4 and 10^6 records
    python -m benchmarks.startup    CPU seconds of `hanclip --help`
    python -m benchmarks.gpu        the whole run against the pure forward pass; skipped without an NVIDIA GPU

Results go to benchmarks/results/ as JSON; docs/benchmarks.md shows them.
"""
