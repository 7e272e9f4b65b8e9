"""WebDataset tars as a source."""
