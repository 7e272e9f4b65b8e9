"""Turns aiohttp's errors into those of the operating system or of hanclip, without their messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from pipeline.errors import StorageError
from pipeline.storage.backends.http.public_addresses import RefusedHostError, refused
from pipeline.storage.uris import printable


@contextmanager
def translated_client_errors(uri: str) -> Iterator[None]:
    """Wrap one request for `uri`."""
    try:
        yield
    except RefusedHostError as error:
        raise refused(printable(uri), uri, str(error)) from error
    except aiohttp.InvalidURL as error:
        raise ValueError("not a URL") from error
    except aiohttp.ClientConnectorDNSError as error:
        cause = error.os_error
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN:
            raise ConnectionError("dns error") from error
        raise FileNotFoundError("no such host") from error
    except aiohttp.ClientSSLError as error:
        raise StorageError(f"{printable(uri)} has no valid TLS certificate. Correct the address.", uri) from error
    except TimeoutError:
        raise
    except aiohttp.ClientError as error:
        raise ConnectionError(type(error).__name__) from error
