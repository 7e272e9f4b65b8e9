"""What becomes of the cuts of a source: what is left of them is packed, and those that are done are remembered."""
