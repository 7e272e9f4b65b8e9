"""`hanclip serve`: checks who may ask, takes the port, loads the model, and serves until a signal arrives.

In: settings. Out: a line with the address on stdout, the log in lines of JSON on stderr, an exit code: 0 if every
accepted request was answered.
"""

from __future__ import annotations

import socket
import sys

import typer

from actors.machine.limits import usable_cpus
from actors.serving.application import loaded_application
from flows.commands.serving.host import Host
from flows.terminal.json_lines import write_json
from pipeline.errors import ConfigError
from pipeline.serving.access.admission import gate_of
from pipeline.serving.contract import ModelCard
from pipeline.serving.log import adopt_loggers, log_as_json
from pipeline.serving.settings import Network, ServeSettings


def serve(settings: ServeSettings, as_json: bool) -> int:
    """Serve until a signal arrives; returns the exit code.

    Raises:
        ConfigError: the keys are wrong or missing, or the port is taken.
        ModelError: the model cannot be loaded.
        UsageError, StorageError, RunError: the dataset cannot be searched.
    """
    gate = gate_of(settings.access, settings.network.host)
    with listening(settings.network) as listener:
        log_as_json(with_access=True)
        app = loaded_application(settings, gate, usable_cpus())
        adopt_loggers()
        url = address(listener)
        host = Host(app, settings.network, lambda: _show(url, app.state.server.card, as_json))
        return host.run(listener)


def listening(network: Network) -> socket.socket:
    """A socket at the address, which takes no connections yet: the model is not loaded for a port that is taken."""
    listener = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(network.host, network.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(
            f"{network.host}, port {network.port}: {error.strerror or error}. Choose others with --host and --port."
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _show(url: str, card: ModelCard, as_json: bool) -> None:
    if as_json:
        write_json("serving", {"url": url, "model": card.body()})
    else:
        exact = ", exact" if card.identity["exact"] else ""
        typer.echo(f"Serving {card.id} ({card.identity['dtype']} on {card.identity['device']}{exact}) at {url}")
        typer.echo(f"  a page in the browser: {url}/")
        typer.echo(f'  curl {url}/v1/embeddings -d \'{{"input": "一只猫"}}\'')
    sys.stdout.flush()
