"""Which rows stay: the keep rule, what an earlier run decided, and the kept row that each dropped row is near."""
