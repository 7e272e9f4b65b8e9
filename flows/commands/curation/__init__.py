"""The commands over a finished dataset."""
