"""Which rows are duplicates of each other, rung by rung, and under which further conditions."""
