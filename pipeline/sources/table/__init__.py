"""Tables as a source: Parquet, CSV, TSV and JSON lines."""
