"""Access to a Kubernetes API server: authorities, client certificates and tokens, from files or a plugin.

In: the cluster and the user of a kubeconfig, or token files. Out: a callable that gives the `Access` for each request.
Token files are read again each time, because Kubernetes rotates tokens in place.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from flows.jobs.http_call import Access
from flows.jobs.kuberay.exec_plugin import ExecPlugin
from pipeline.errors import ConfigError

#: From a client certificate with its key (PEM; empty without one) to the context of a connection.
MakeTls = Callable[[bytes], ssl.SSLContext | bool]

#: Credentials of a plugin are replaced this long before they expire: longer than a request with its retries takes.
_MARGIN = timedelta(seconds=60)
_CLUSTER_INFO = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
_EXTENSION = "client.authentication.k8s.io/exec"


class TokenFile:
    """Access with the token in a file."""

    def __init__(self, path: Path, tls: ssl.SSLContext | bool) -> None:
        self._path, self._tls = path, tls

    def __call__(self, _: Access | None) -> Access:
        """The token as it is now."""
        try:
            return Access(_bearer(self._path.read_text().strip()), self._tls)
        except OSError as error:
            raise ConfigError(f"Cannot read the token of the Kubernetes account: {error}. Mount it.") from error


class PluginAccess:
    """Access through a plugin, which is run at first use, before its credentials expire, and after a 401."""

    def __init__(self, plugin: ExecPlugin, tls: MakeTls) -> None:
        self._plugin, self._tls = plugin, tls
        self._lock = threading.Lock()
        self._current: Access | None = None
        self._expires_at: datetime | None = None

    def __call__(self, refused: Access | None) -> Access:
        """The current credentials; new ones if the current ones are `refused` or expire soon."""
        with self._lock:
            expired = self._expires_at is not None and datetime.now(UTC) > self._expires_at - _MARGIN
            if self._current is None or self._current is refused or expired:
                credential = self._plugin.run()
                self._current = Access(_bearer(credential.token), self._tls(credential.pem))
                self._expires_at = credential.expiration_timestamp
            return self._current


def user_access(
    cluster: Mapping[str, Any], user: Mapping[str, Any], kubeconfig: Path
) -> Callable[[Access | None], Access]:
    """How this user of a kubeconfig signs in to this cluster.

    Raises:
        ConfigError: in a way that is not supported, or a file cannot be read.
    """
    if "auth-provider" in user or "username" in user:
        raise ConfigError(
            f"The user of {kubeconfig} signs in with a password or an auth-provider, which hanclip does not support."
            " Use a token (kubectl create token ...), a client certificate or an exec plugin, or run in the cluster."
        )
    folder = kubeconfig.parent
    authority = _pem(cluster, "certificate-authority", folder)
    own = (_pem(user, "client-certificate", folder) + b"\n" + _pem(user, "client-key", folder)).strip()
    https = str(cluster["server"]).startswith("https")
    tls = partial(_context, authority, bool(cluster.get("insecure-skip-tls-verify"))) if https else _no_tls
    if "tokenFile" in user:
        return TokenFile(folder / str(user["tokenFile"]), tls(own))
    if "exec" in user and not user.get("token"):
        plugin = ExecPlugin(user["exec"] or {}, _cluster_info(cluster, authority), kubeconfig)
        return PluginAccess(plugin, lambda certificate: tls(certificate or own))
    access = Access(_bearer(user.get("token")), tls(own))
    return lambda _: access


def _bearer(token: str | None) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _cluster_info(cluster: Mapping[str, Any], authority: bytes) -> dict[str, Any]:
    """What a plugin may ask for: the cluster's entry, the authority inlined, and the extension meant for plugins."""
    info = {key: cluster[key] for key in _CLUSTER_INFO if key in cluster}
    if authority:
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    extensions = {entry.get("name"): entry.get("extension") for entry in cluster.get("extensions") or ()}
    return info | ({"config": extensions[_EXTENSION]} if _EXTENSION in extensions else {})


def _no_tls(_: bytes) -> bool:
    return True


def _context(authority: bytes, insecure: bool, certificate: bytes) -> ssl.SSLContext:
    try:
        return _loaded(authority, insecure, certificate)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"OpenSSL cannot load the cluster's authority or the client certificate with its key: {error}. Check the"
            " kubeconfig and its plugin with kubectl."
        ) from error


def _loaded(authority: bytes, insecure: bool, certificate: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.decode() or None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        # OpenSSL loads certificates from files only; this one is private and removed at once.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(certificate)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> bytes:
    try:
        if f"{key}-data" in entry:
            return base64.b64decode(entry[f"{key}-data"])
        return (folder / str(entry[key])).read_bytes() if key in entry else b""
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read the {key} of the kubeconfig: {error}. Check it with kubectl.") from error
