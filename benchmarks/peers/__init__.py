"""What people would pick instead of hanclip for the same work: programs with the arguments of `benchmarks.case`."""
