"""A dataset that is kept open for any number of searches."""
