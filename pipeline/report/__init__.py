"""Pages for people: what is in a dataset, and what a search found. One file each, which opens without a network."""
