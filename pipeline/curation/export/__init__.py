"""A dataset's vectors in the formats of those who use them, ids beside vectors. One module a format, see `registry`."""
