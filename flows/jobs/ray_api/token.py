"""The token of a Ray cluster, read from where Ray reads it. Never logged, never stored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from flows.jobs.errors import RefusedError

CURE = (
    "Set RAY_AUTH_MODE=token and the cluster's token in RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names, or"
    " in ~/.ray/auth_token."
)


def auth_headers() -> Mapping[str, str]:
    """The header for a cluster with RAY_AUTH_MODE=token; empty in any other mode.

    Raises:
        RefusedError: the mode needs a token and none was found.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip() or _from_file()
    if not token:
        raise RefusedError(f"RAY_AUTH_MODE is token, but no token was found. {CURE}")
    return {"Authorization": f"Bearer {token}"}


def _from_file() -> str:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
