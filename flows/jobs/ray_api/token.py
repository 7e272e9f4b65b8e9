"""The token of a Ray cluster, read from where Ray reads it. Never logged, never stored.

Without RAY_AUTH_MODE the cluster decides: the token is sent to a cluster that requires one, and to no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from flows.jobs.errors import RefusedError
from flows.jobs.http_call import Access

CURE = (
    "Give the cluster's token in RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token,"
    " and do not set RAY_AUTH_MODE=disabled."
)


class TokenAccess:
    """What one cluster is shown before each request."""

    def __init__(self) -> None:
        self._required = False

    def __call__(self, refused: Access | None) -> Access:
        """The header with the token, if the cluster requires one.

        Args:
            refused: the access that the cluster has just answered with 401, if any.

        Raises:
            RefusedError: RAY_AUTH_MODE is token and no token was found, or what was found is none.
        """
        self._required |= refused is not None
        return Access(self._headers(os.environ.get("RAY_AUTH_MODE", "").strip().lower()))

    def _headers(self, mode: str) -> Mapping[str, str]:
        if mode == "disabled" or (mode != "token" and not self._required):
            return {}
        token = os.environ.get("RAY_AUTH_TOKEN", "").strip() or _from_file()
        if not token and mode == "token":
            raise RefusedError(f"RAY_AUTH_MODE is token, but no token was found. {CURE}")
        if not token.isascii() or not token.isprintable():
            raise RefusedError(f"The token that was found has characters that no token has. {CURE}")
        return {"Authorization": f"Bearer {token}"} if token else {}


def _from_file() -> str:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
