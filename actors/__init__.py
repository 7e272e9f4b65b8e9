"""Runs on Ray: the actors, the scheduler that feeds them, the driver of one run, and jobs of several runs."""
