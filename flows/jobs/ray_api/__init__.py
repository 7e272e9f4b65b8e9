"""Backend `ray`: the Jobs API of a running cluster."""
