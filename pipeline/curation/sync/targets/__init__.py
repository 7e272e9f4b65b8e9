"""The databases of `hanclip sync`: one module each, listed in `registry`."""
