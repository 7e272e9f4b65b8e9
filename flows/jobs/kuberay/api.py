"""Finds the Kubernetes API server: in a kubeconfig, or in the environment of the pod.

In: KUBECONFIG, a service account, or ~/.kube/config. Out: an `Http` for the API server, signed in.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.jobs.http_call import Http
from flows.jobs.kuberay.access import TokenFile, user_access
from pipeline.errors import ConfigError
from pipeline.yaml_text import load_documents

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
UNREACHABLE = "Check the API server's address in the kubeconfig, and that this machine may reach it."
REFUSED = (
    "Check the credentials, and that the account may create, get, list and delete rayjobs.ray.io in the namespace."
)


def connect() -> Http:
    """The API server of KUBECONFIG, else that of the pod this runs in, else that of ~/.kube/config.

    Raises:
        ConfigError: none of them is there, or the user signs in in a way that is not supported.
    """
    if os.environ.get("KUBECONFIG"):
        paths = [Path(path) for path in os.environ["KUBECONFIG"].split(os.pathsep) if path]
        return _of_kubeconfig(next((path for path in paths if path.is_file()), paths[0]))
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and (SERVICE_ACCOUNT / "token").is_file():
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        address = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        tls = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
        return Http(address, TokenFile(SERVICE_ACCOUNT / "token", tls), UNREACHABLE, REFUSED)
    return _of_kubeconfig(Path.home() / ".kube" / "config")


def _of_kubeconfig(path: Path) -> Http:
    try:
        tree = next(iter(load_documents(f"The kubeconfig {path}", path.read_text(encoding="utf-8"))))
        context = _named(tree, "contexts", "context", tree["current-context"])
        cluster = _named(tree, "clusters", "cluster", context["cluster"])
        user = _named(tree, "users", "user", context["user"])
        server = str(cluster["server"]).rstrip("/")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Cannot read the kubeconfig {path}: {error}. Set KUBECONFIG, or run inside a pod."
        ) from error
    except (KeyError, TypeError, StopIteration) as error:
        raise ConfigError(f"{path} has no complete current context ({error!r}). Check it with kubectl.") from error
    return Http(server, user_access(cluster, user, path), UNREACHABLE, REFUSED)


def _named(tree: Mapping[str, Any], kind: str, key: str, name: str) -> dict[str, Any]:
    return next(entry[key] for entry in tree[kind] if entry["name"] == name) or {}
