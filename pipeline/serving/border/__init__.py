"""Where HTTP ends: bodies, request ids, limits, errors, the access log and metrics."""
