"""Jobs: several runs and steps in one session."""
