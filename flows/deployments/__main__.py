"""`python -m flows.deployments FILE --work-pool NAME --alerts FILE [--reset-parameters] [--reset-schedules]`.

Updates a Prefect server: the work pool, what earlier versions left, the deployments of a prefect.yaml, and the alerts,
in one process because importing Prefect takes seconds. Exit 1 with one line if the server refuses something or does not
answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import httpx
import typer
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import DeploymentApplyError
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError

from flows.deployments.alerts import apply_alerts
from flows.deployments.deployment import KeepingDeployment
from flows.deployments.file import read
from flows.deployments.retired import delete_retired_automations
from pipeline.errors import HanclipError, RunError


def main() -> None:
    """Deploy what the command line names."""
    parser = argparse.ArgumentParser(prog="infra/prefect/deploy", description="Deploy the flows to a Prefect server.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--work-pool", required=True, help="Created if there is none of this name.")
    parser.add_argument("--alerts", type=Path, required=True, help="The file with the alerts about flow runs.")
    parser.add_argument("--reset-parameters", action="store_true", help="Drop changes made to values on the server.")
    parser.add_argument("--reset-schedules", action="store_true", help="Drop changes made to schedules on the server.")
    asked = parser.parse_args()
    try:
        deployments = read(asked.file, os.environ)
        _prepare(asked.work_pool)
        for deployment in deployments:
            deployment.reset(asked.reset_parameters, asked.reset_schedules)
            _deploy(deployment)
        for line in apply_alerts(asked.alerts, os.environ):
            typer.echo(line)
    except HanclipError as error:
        sys.exit(f"Error: {error}")


def _prepare(work_pool: str) -> None:
    """Create the work pool, and delete old automations before the flows that they work against are deployed."""
    try:
        with get_client(sync_client=True) as client:
            try:
                client.create_work_pool(WorkPoolCreate(name=work_pool, type="process"))
                typer.echo(f"Created the work pool {work_pool}")
            except ObjectAlreadyExists:
                pass
        for deleted in delete_retired_automations():
            typer.echo(f"Deleted the automation {deleted}: the flow reap restarts flow runs now.")
    except httpx.HTTPError as error:
        raise RunError(f"The Prefect server did not answer: {error}. Check PREFECT_API_URL.") from error


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
