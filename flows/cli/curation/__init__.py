"""Commands over a finished dataset."""
