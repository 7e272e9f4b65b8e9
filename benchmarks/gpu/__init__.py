"""A whole run against the bare forward pass, on one NVIDIA GPU."""
