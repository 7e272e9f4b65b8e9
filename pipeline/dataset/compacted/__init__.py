"""What a compaction leaves in a dataset: which files count, and from which runs the rows of a file come."""
