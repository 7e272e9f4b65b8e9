"""The token of a Ray cluster, found where Ray itself looks for it. Never logged, never stored."""

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
    """The header that a cluster with RAY_AUTH_MODE=token wants; empty in any other mode.

    Raises:
        RefusedError: the mode asks for a token and there is none.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip() or _from_file()
    if not token:
        raise RefusedError(f"RAY_AUTH_MODE is token, and no token was found. {CURE}")
    return {"Authorization": f"Bearer {token}"}


def _from_file() -> str:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
