"""The routes of the page: its files, and what it asks of a dataset besides searches."""
