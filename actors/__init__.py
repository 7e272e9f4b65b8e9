"""Who does the work: plain actor classes, the dispatcher that feeds them, the driver of one run.

Ray reads its authentication mode once, when it is imported, and its default differs between releases. So the mode is
made explicit here, before anything imports Ray: the user's, else tokens. Without a token of the user's, each process
makes its own for the local Ray that it may start, which keeps other users of the machine from running code in it; a
cluster without authentication ignores it.
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
