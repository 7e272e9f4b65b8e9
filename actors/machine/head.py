"""Asks the head of a Ray cluster whether it is there and which authentication it requires, before Ray connects.

In: the address of a cluster. Out: whether the credentials were accepted, or a `RunError` within 15 seconds. Ray itself
retries an address where nothing listens for up to 14 minutes, and reports wrong credentials as dying actors.
"""

from __future__ import annotations

import os
import socket

# gRPC would log to the user's terminal; it reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from ray._common.tls_utils import load_certs_from_env
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS

from pipeline.errors import RunError

_CONNECT_S = 5.0
_ANSWER_S = 8.0
#: More than both: name resolution has no timeout of its own.
ASK_S = 14.0
_METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_WEB = "The address of Ray's dashboard belongs to --jobs-address of `hanclip submit`, such as http://HOST:8265."
_CURE = "Check that the head runs, and --address: HOST:PORT as in `ray start --head --port=PORT`, 6379 by default."


def accepts(address: str, token: str) -> bool:
    """Whether the head at `address` accepts `token`, or requests without a token if it is empty.

    Raises:
        RunError: no head of a Ray cluster answers there.
    """
    if not token.isascii() or not token.isprintable():
        return False  # It cannot even be sent.
    connect(address)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with _channel(address) as channel:
        try:
            channel.unary_unary(_METHOD)(b"", timeout=_ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            return _verdict(address, error)
    return True


def connect(address: str) -> None:
    """Open and close a TCP connection, since its errors are clearer than those of gRPC; raises a RunError."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise RunError(
            f"Ray Client ({address}) is not supported: use `hanclip submit` from outside the cluster. {_CURE}"
        )
    if "://" in address:
        raise RunError(f"{address} is the address of a web server, not of a Ray cluster. {_WEB} {_CURE}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except ValueError as error:
        raise RunError(f"{address!r} is not the address of a Ray cluster. {_CURE}") from error
    except socket.gaierror as error:
        raise _unreachable(address, f"the host is unknown ({error.strerror}).") from error
    except TimeoutError as error:
        raise _unreachable(address, f"no answer within {_CONNECT_S:g} s; a firewall may block it.") from error
    except OSError as error:
        raise _unreachable(address, f"{error.strerror or error}.") from error


def _unreachable(address: str, why: str) -> RunError:
    return RunError(f"Cannot connect to Ray at {address}: {why} {_CURE}")


def _channel(address: str) -> grpc.Channel:
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address, options=GLOBAL_GRPC_OPTIONS)
    chain, key, authority = load_certs_from_env()
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    return grpc.secure_channel(address, credentials, options=GLOBAL_GRPC_OPTIONS)


def _verdict(address: str, error: grpc.RpcError) -> bool:
    """False if the credentials were refused; raises a RunError otherwise."""
    code, details = error.code(), error.details() or ""
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return False
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        why = f"something listens there but does not answer within {_ANSWER_S:g} s; the head may be hung or overloaded."
    elif "HTTP/2" in details and _speaks_http(address):
        why = f"a web server answers there. {_WEB}"
    elif "HTTP/2" in details or code is grpc.StatusCode.UNIMPLEMENTED:
        why = "another server answers there, such as that of Ray Client."
    else:
        why = f"{code.name}: {details}."
    raise _unreachable(address, why) from error


def _speaks_http(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(5).startswith(b"HTTP/")
    except OSError:
        return False
