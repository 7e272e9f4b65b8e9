"""The nodes of the connected cluster: which are there, which leave, and whether an autoscaler may add some."""
