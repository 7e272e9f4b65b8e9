"""`python -m flows.deployments FILE [--reset-parameters] [--reset-schedules]`: deploys a prefect.yaml.

Exit 1 with one line if the server refuses a deployment or does not answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import httpx
from prefect.deployments.runner import DeploymentApplyError
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.deployments.deployment import KeepingDeployment
from flows.deployments.file import read
from pipeline.errors import HanclipError, RunError


def main() -> None:
    """Deploy what the command line names."""
    parser = argparse.ArgumentParser(prog="infra/prefect/deploy", description="Deploy the flows to a Prefect server.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--reset-parameters", action="store_true", help="Drop changes made to values on the server.")
    parser.add_argument("--reset-schedules", action="store_true", help="Drop changes made to schedules on the server.")
    asked = parser.parse_args()
    try:
        for deployment in read(asked.file, os.environ):
            deployment.reset(asked.reset_parameters, asked.reset_schedules)
            _deploy(deployment)
    except HanclipError as error:
        sys.exit(f"Error: {error}")


def _deploy(deployment: KeepingDeployment) -> None:
    name = deployment.full_name
    try:
        asyncio.run(deployment.aapply())
    except (DeploymentApplyError, PrefectHTTPStatusError, ObjectNotFound) as error:
        raise RunError(
            f"The Prefect server refuses {name}: {error}\nIf it names a parameter that was changed on the server, "
            "correct it there, or deploy with --reset-parameters."
        ) from error
    except httpx.HTTPError as error:
        raise RunError(f"The Prefect server did not answer for {name}: {error}. Check PREFECT_API_URL.") from error


if __name__ == "__main__":
    main()
