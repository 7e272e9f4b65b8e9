"""Runs on Ray: the actors, the scheduler that feeds them, the driver of one run, and jobs of several runs.

Ray reads its authentication mode once, when it is imported, and the default differs between releases. So it is set
here, before anything imports Ray: the user's mode, else tokens. If the user has no token, each process makes one for
the local Ray that it may start, so that other users of the machine cannot run code in it; a cluster without
authentication ignores it.
"""

import os
import secrets
from pathlib import Path


def _set_auth_mode() -> None:
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not named and not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


_set_auth_mode()
