"""The files of a model: from its name to a folder on this machine, and the tensors inside."""
