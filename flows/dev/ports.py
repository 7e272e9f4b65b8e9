"""Chooses free ports on loopback. In: requested ports, and those used before. Out: `Ports`."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError

_LOOPBACK = "127.0.0.1"
#: Between the ports of Ray's workers (10002 to 19999) and the system's ephemeral ports (from 32768 on).
_FIRST, _LAST = 20_000, 32_000
#: A killed process holds its ports until its last thread has ended.
_FREED_S = 10.0
#: SeaweedFS uses nine ports in a row, and one far above them for its admin server.
_S3_BLOCK = (*range(9), 10_008)


class Ports(BaseModel):
    """The ports of a stack. `s3` is the first of a block."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefect: int = Field(description="Prefect's API and pages.")
    dashboard: int = Field(description="Ray's dashboard and Jobs API.")
    s3: int = Field(description="S3.")
    gcs: int = Field(description="Ray's control store: what `--address` takes.")
    client: int = Field(description="Ray's client server.")
    agent: int = Field(description="Ray's dashboard agent.")
    metrics: int = Field(description="Ray's metrics, as Prometheus reads them.")


def choose(requested: dict[str, int], before: Ports | None) -> Ports:
    """The requested ports; for the others those used before if they are free, else any free ones.

    Raises:
        ConfigError: a requested port is taken.
    """
    for name, port in requested.items():
        if not _free(name, port):
            raise ConfigError(f"Port {port} for {name} is taken: give another port, or none to use a free one.")
    chosen = dict(requested)
    for name in Ports.model_fields:
        if name not in chosen:
            chosen[name] = next(port for port in _candidates(name, before) if _fits(name, port, chosen))
    return Ports(**chosen)


def refuse_others(requested: dict[str, int], used: Ports) -> None:
    """Refuse ports other than those of a running stack.

    Raises:
        ConfigError: a requested port is not the one that is used.
    """
    for name, port in requested.items():
        if getattr(used, name) != port:
            raise ConfigError(
                f"The stack runs with {name} on port {getattr(used, name)}, not {port}. "
                f"To change it: hanclip dev down, then hanclip dev up --{name}-port {port}."
            )


def refuse_taken(names: tuple[str, ...], used: Ports) -> None:
    """Refuse to start a service of a running stack whose port another program has taken.

    Raises:
        ConfigError: a port is taken.
    """
    deadline_s = time.monotonic() + _FREED_S
    for name in names:
        while not _free(name, getattr(used, name)) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        if not _free(name, getattr(used, name)):
            raise ConfigError(
                f"Port {getattr(used, name)} for {name} is taken by another program: end that one, or let all services "
                "use free ports: hanclip dev down, then hanclip dev up."
            )


def _candidates(name: str, before: Ports | None) -> Iterator[int]:
    if before is not None:
        yield getattr(before, name)
    yield from range(_FIRST, _LAST, 10 if name == "s3" else 1)
    raise ConfigError(f"No free port for {name} between {_FIRST} and {_LAST}: give one.")


def _fits(name: str, port: int, chosen: dict[str, int]) -> bool:
    taken = {used + offset for other, used in chosen.items() for offset in _offsets(other)}
    return taken.isdisjoint(port + offset for offset in _offsets(name)) and _free(name, port)


def _offsets(name: str) -> tuple[int, ...]:
    return _S3_BLOCK if name == "s3" else (0,)


def _free(name: str, port: int) -> bool:
    return all(_is_free(port + offset) for offset in _offsets(name))


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True
