"""Reports on a run: progress files, log lines and the bottleneck."""
