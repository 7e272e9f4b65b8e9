"""Partitions of a source template, usually days: which exist, which are due, and the result of each one's last run."""
