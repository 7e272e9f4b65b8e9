"""How a run reports: progress files, log lines and the bottleneck."""
