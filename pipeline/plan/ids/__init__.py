"""Which ids of a listing are refused: those of several records, and those of records of another source."""
