"""Jobs and runs as values: the request, the progress and the outcome, and the files that hold them."""
