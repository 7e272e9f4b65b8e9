"""Jobs on a Ray cluster: one contract, three backends, and how a caller returns to its job.

Needs neither Prefect nor the `ray` package: clusters are called over HTTP, so a scheduler needs no Ray.
"""
