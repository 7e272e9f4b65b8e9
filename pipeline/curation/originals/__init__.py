"""The original images of rows, read again from their sources."""
