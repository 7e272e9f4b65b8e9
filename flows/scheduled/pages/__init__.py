"""What a flow run shows on its page in Prefect: tables, progress and reports in markdown."""
