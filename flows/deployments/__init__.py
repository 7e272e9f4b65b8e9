"""Deploys the flows to a Prefect server, and keeps what an operator changed there.

    python -m flows.deployments                   `infra/prefect/deploy`
    flows.dev.serving                             the local stack

Both deploy at every start, so a deploy must change only what is new in hanclip: see `merging`.
"""
