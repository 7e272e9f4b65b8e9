"""Turns aiohttp's errors into those of the operating system or of hanclip, without their messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from pipeline.errors import HostDownError, StorageError, UnusableHostError
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
    except aiohttp.ClientPayloadError as error:
        raise ConnectionError("the body is incomplete") from error
    except aiohttp.ClientResponseError as error:
        raise StorageError(f"The answer for {printable(uri)} is not valid HTTP. Check the address.", uri) from error
    except TimeoutError:
        raise
    except aiohttp.ClientConnectionError as error:
        raise _down(error, uri) from error
    except aiohttp.ClientError as error:
        raise ConnectionError(type(error).__name__) from error


def _down(error: aiohttp.ClientConnectionError, uri: str) -> HostDownError:
    """The error for a host without an answer. A resolver that failed may work in a minute; an unknown name stays so."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        cause = error.os_error
        temporary = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
        kind = HostDownError if temporary else UnusableHostError
        return kind(_message(uri, "host name not found", "Check the name"), uri)
    if isinstance(error, aiohttp.ClientSSLError):
        return UnusableHostError(_message(uri, "no valid TLS certificate", "Check the address"), uri)
    refused_by_host = isinstance(error, aiohttp.ClientConnectorError)
    why = "connection refused" if refused_by_host else "connection closed without an answer"
    return HostDownError(_message(uri, why, "Check the address"), uri)


def given_up(uri: str, authority: str) -> UnusableHostError:
    """The error for a URL whose host is not asked, because it did not answer before."""
    host = authority.rpartition("@")[2]
    why = f"{host} gave no answer to earlier requests"
    return UnusableHostError(_message(uri, why, "Check the host"), uri)


def _message(uri: str, why: str, cure: str) -> str:
    return f"{printable(uri)} is not available ({why}). {cure}, or try again when the host is up."
