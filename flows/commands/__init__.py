"""What each command does and shows, one module a command."""
