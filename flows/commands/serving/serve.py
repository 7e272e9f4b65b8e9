"""`hanclip serve`: checks who may ask, takes the port, loads the model, and serves until a signal arrives.

In: settings. Out: a line with the address on stdout, the access log on stderr, an exit code: 0 if every accepted
request was answered.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import typer

from actors.machine.limits import usable_cpus, visible_gpus
from flows.commands.serving.host import Host
from flows.terminal.json_lines import write_json
from pipeline.errors import ConfigError, HanclipError
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import VARIABLE, Keyring
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.app import create_app
from pipeline.serving.contract import ModelCard
from pipeline.serving.loading import load
from pipeline.serving.settings import LOOPBACK, AccessSettings, Network, ServedModel, ServeSettings, ThreadCounts

_LOG = logging.getLogger("hanclip.serve")


def serve(settings: ServeSettings, as_json: bool) -> int:
    """Serve until a signal arrives; returns the exit code.

    Raises:
        ConfigError: the keys are wrong or missing, or the port is taken.
        ModelError: the model cannot be loaded.
    """
    gate = gate_of(settings.access, settings.network.host)
    with listening(settings.network) as listener:
        _log_to_stderr()
        # Idle threads of a forward pass would spin and take the cores of decoding. Torch reads it when it is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        decoding, computing = divided(settings.threads, settings.model)
        encoder, card = load(settings.model, settings.limits, computing)
        app = create_app(encoder, card, settings, gate, decoding)
        url = address(listener)
        host = Host(app, settings.network, lambda: _show(url, card, as_json))
        return host.run(listener)


def gate_of(access: AccessSettings, host: str) -> Gate:
    """Who may ask. Raises ConfigError if everybody in a network could."""
    path = Path(access.api_keys) if access.api_keys else None
    if path is not None and not path.is_file():
        raise ConfigError(f"There is no file {path}: make one with `hanclip keys add {path} NAME`.")
    rates = KeyRates(access.requests_per_s)
    if path is None and not os.environ.get(VARIABLE):
        if host in LOOPBACK and not access.no_auth:
            return Gate(None, rates, LOOPBACK)
        if not access.no_auth:
            raise ConfigError(
                f"--host {host} lets other machines ask, and there are no keys: give --api-keys FILE, made by `hanclip "
                "keys add FILE NAME`, or --no-auth if anybody who reaches it may."
            )
        return Gate(None, rates)
    if access.no_auth:
        raise ConfigError("--no-auth asks for no keys, but there are some: leave it or the keys out.")
    keys = Keyring.of(path, _report)
    if not len(keys):
        raise ConfigError(f"{path or VARIABLE} holds no key: make one with `hanclip keys add FILE NAME`.")
    return Gate(keys, rates)


def divided(threads: ThreadCounts, model: ServedModel) -> tuple[int, int]:
    """Threads that decode, and threads of a forward pass: all cores together. With a GPU, nearly all of them decode."""
    cores = max(1, int(usable_cpus()))
    on_gpu = visible_gpus() > 0 and not (model.device or "").startswith("cpu")
    decoding = threads.decode_threads
    if not isinstance(decoding, int):
        decoding = max(1, cores - 1 if on_gpu else cores // 4)
    computing = threads.model_threads
    return decoding, computing if isinstance(computing, int) else max(1, cores - decoding)


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
        typer.echo(f"Serving {card.id} ({card.identity['dtype']} on {card.identity['device']}) at {url}")
        typer.echo(f'  curl {url}/v1/embeddings -d \'{{"input": "一只猫"}}\'')
    sys.stdout.flush()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("hanclip.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)


def _report(problem: HanclipError) -> None:
    _LOG.warning("The keys were not read again: %s", problem)
