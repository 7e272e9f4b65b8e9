"""Implementations of storage, one module each; `open` chooses by the scheme of a URL."""
