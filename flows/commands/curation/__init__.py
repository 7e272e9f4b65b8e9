"""What the commands over a finished dataset do and show."""
