"""The commands of the online API."""
