"""The addresses of a source: expanded and listed, and what is near one that holds nothing."""
