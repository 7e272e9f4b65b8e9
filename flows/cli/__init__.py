"""The `hanclip` command: one module per command, which parses and calls its namesake in `flows.commands`."""

from flows.cli.app import main

__all__ = ["main"]
