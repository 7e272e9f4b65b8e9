"""The index of keys: what the footers of a dataset's files state and which keys their rows have, in few large files."""
