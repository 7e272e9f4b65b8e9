"""The door to a Kubernetes API server: where it is, and who we are to it.

In: the service account of the pod, or a kubeconfig. Out: an `Http` on the API server. Tokens are read again at each
request, because Kubernetes rotates them in their files.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from flows.jobs.http_call import Http
from pipeline.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
UNREACHABLE = "Check the API server's address in the kubeconfig, and that this machine may reach it."
REFUSED = "Check the token, and that the account may create, get, list and delete rayjobs.ray.io in the namespace."


def connect() -> Http:
    """The API server: that of KUBECONFIG, else the one of the pod that this runs in, else that of ~/.kube/config.

    Raises:
        ConfigError: there is none of them, or it signs in by a way that hanclip does not carry out.
    """
    if os.environ.get("KUBECONFIG"):
        paths = [Path(path) for path in os.environ["KUBECONFIG"].split(os.pathsep) if path]
        return _of_kubeconfig(next((path for path in paths if path.is_file()), paths[0]))
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and (SERVICE_ACCOUNT / "token").is_file():
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        context = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
        address = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        return Http(address, _bearer_of(SERVICE_ACCOUNT / "token"), UNREACHABLE, REFUSED, verify=context)
    return _of_kubeconfig(Path.home() / ".kube" / "config")


def _of_kubeconfig(path: Path) -> Http:
    try:
        tree = yaml.safe_load(path.read_text())
        names = _named(tree, "contexts", "context", tree["current-context"])
        cluster = _named(tree, "clusters", "cluster", names["cluster"])
        user = _named(tree, "users", "user", names["user"])
        server = str(cluster["server"]).rstrip("/")
    except OSError as error:
        raise ConfigError(
            f"Cannot read the kubeconfig {path}: {error}. Set KUBECONFIG, or run inside a pod."
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise ConfigError(f"{path} has no complete current context ({error!r}). Check it with kubectl.") from error
    context = _tls(cluster, user, path.parent) if server.startswith("https://") else True
    return Http(server, _bearer(user, path), UNREACHABLE, REFUSED, verify=context)


def _named(tree: Mapping[str, Any], kind: str, key: str, name: str) -> dict[str, Any]:
    return next(entry[key] for entry in tree[kind] if entry["name"] == name) or {}


def _bearer(user: Mapping[str, Any], path: Path) -> Callable[[], Mapping[str, str]]:
    if "exec" in user or "auth-provider" in user:
        raise ConfigError(
            f"The user of {path} signs in through a plugin, which hanclip does not run. Give a user with a token"
            " (kubectl create token ...) or a client certificate, or run inside the cluster."
        )
    if "username" in user:
        raise ConfigError(f"The user of {path} signs in with a password. Give a token or a client certificate.")
    if "tokenFile" in user:
        return _bearer_of(path.parent / str(user["tokenFile"]))
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    return lambda: headers


def _bearer_of(path: Path) -> Callable[[], Mapping[str, str]]:
    def headers() -> Mapping[str, str]:
        try:
            return {"Authorization": f"Bearer {path.read_text().strip()}"}
        except OSError as error:
            raise ConfigError(f"Cannot read the token of the Kubernetes account: {error}. Mount it.") from error

    return headers


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        # OpenSSL reads both from a file and from nowhere else; it is readable by us alone, and gone at once.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    if key not in entry:
        return None
    try:
        return (folder / str(entry[key])).read_bytes()
    except OSError as error:
        raise ConfigError(f"Cannot read the {key} of the kubeconfig: {error}.") from error
