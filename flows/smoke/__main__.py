"""`infra/smoke`: checks every link of an installation in the order in which a night needs them, and stops at the first
broken one.

In: the environment of the runner. Out: a line per link on stdout; exit code 0, or 1 with the cure on stderr.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from flows.smoke.embed import check_flow
from flows.smoke.installation import Installation
from flows.smoke.links import check_prefect, check_ray, check_storage
from flows.terminal.plain import plain
from pipeline.errors import HanclipError

_EXAMPLES = """Examples:

  docker compose exec runner infra/smoke

  kubectl --namespace hanclip exec deploy/hanclip-runner -- infra/smoke

  infra/smoke --deployment embed/dev --timeout-s 120
"""


def smoke(
    deployment: Annotated[
        str, typer.Option(metavar="FLOW/NAME", help="A deployment of the flow embed.")
    ] = "embed/prod",
    timeout_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="How long its flow run may take, with the start of workers.")
    ] = 900,
    flow_run: Annotated[bool, typer.Option(help="Also embed three images in a flow run.")] = True,
) -> None:
    """Check an installation: storage, Prefect and its worker, Ray, then a flow run that embeds three images."""
    links = {"storage": check_storage, "prefect": check_prefect, "ray": check_ray}
    if flow_run:
        links["flow run"] = check_flow
    name = "settings"
    try:
        installation = Installation.of(os.environ, deployment, timeout_s)
        for name, check in links.items():
            typer.echo(f"ok    {name:<9} {plain(check(installation))}")
    except HanclipError as error:
        typer.echo(f"FAIL  {name:<9} {plain(str(error))}", err=True)
        sys.exit(1)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(epilog=_EXAMPLES)(smoke)

if __name__ == "__main__":
    app()
