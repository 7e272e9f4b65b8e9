"""Searches of `hanclip serve` over a million rows, with an index and exact."""
