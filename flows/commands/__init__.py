"""The commands: what each one does and shows, one module per command."""
