"""Places vectors on a plane: by their two main directions, and so that neighbours stay together. NumPy is enough."""
