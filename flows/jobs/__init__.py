"""Jobs on a Ray cluster: one contract, three backends, and the rule by which a caller comes back to its job.

Knows neither Prefect nor the `ray` package: clusters are spoken to over HTTP, so a scheduler needs no Ray installed.
"""
