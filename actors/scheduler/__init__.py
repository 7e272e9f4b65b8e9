"""The scheduler: feeds pools of actors from a backlog, replaces the dead, and meters both."""
