"""Answers to single questions about a finished dataset, which write nothing into it."""
