"""When and where the work runs: the command line, later the Prefect flows and the Ray Jobs client."""
