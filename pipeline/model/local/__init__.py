"""What is on this machine: the cache, and the small files of a model."""
