"""What measurements print: one module per command with more than a few facts."""
