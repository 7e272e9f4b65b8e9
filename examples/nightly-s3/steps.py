"""Set parameters of a flow's deployment, for runs by hand and for those of its schedule.

Usage: python steps.py FLOW/DEPLOYMENT PARAMETERS.json; the server is the one in the environment, as for `prefect`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate


def main(name: str, file: str) -> None:
    """Add the parameters to those that the deployment has."""
    steps = json.loads(Path(file).read_text(encoding="utf-8"))
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        client.update_deployment(deployment.id, DeploymentUpdate(parameters={**deployment.parameters, **steps}))
    print(f"{name}: {', '.join(steps)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
