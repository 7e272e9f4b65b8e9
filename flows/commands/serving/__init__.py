"""What the commands of the online API do."""
