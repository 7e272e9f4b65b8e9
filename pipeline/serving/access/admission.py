"""Decides who may ask a server, from its settings and its address: keys from a file or the environment, or nobody else.

In: the settings. Out: the `Gate`. A server that other machines reach has keys, unless the settings say otherwise.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import VARIABLE, Keyring
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.settings import LOOPBACK, AccessSettings

_LOG = logging.getLogger("hanclip.serve")


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
    keys = Keyring.of(path, _LOG.warning)
    if not len(keys):
        raise ConfigError(f"{path or VARIABLE} holds no key: make one with `hanclip keys add FILE NAME`.")
    return Gate(keys, rates)
