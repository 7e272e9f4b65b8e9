"""WebDataset tars made from rows."""
