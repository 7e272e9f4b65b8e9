"""Artifacts on a flow run's page in Prefect: tables, progress and reports in markdown."""
