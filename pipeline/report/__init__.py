"""HTML pages about a dataset and about search results. Each is one file and opens offline."""
