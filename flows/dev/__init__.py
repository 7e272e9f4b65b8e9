"""A local stack for development: a Prefect server, a Ray head, an S3 server and the flows, as processes on loopback."""
