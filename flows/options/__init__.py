"""Command-line options made from pydantic models, and the shell line that repeats a run."""
