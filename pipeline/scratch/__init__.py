"""Scratch space on the local disk: temporary Parquet files, and DuckDB over them."""
