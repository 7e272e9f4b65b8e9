"""Jobs: several runs, then steps, in one session."""
