"""The scheduler: feeds pools of actors from a backlog, replaces dead actors, and meters the work."""
