"""Files that hold many records: how they are compressed, and what stands for those that cannot be read."""
