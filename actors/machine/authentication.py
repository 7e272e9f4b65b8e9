"""Sets Ray's authentication mode and token for one connection, as the cluster requires.

Ray's default mode differs between releases, depends on whether a token happens to exist, and has to match the
cluster's. So it is always set: to what the cluster requires, or to a token if this process starts its own Ray, so that
other users of the machine cannot run code in it. A RAY_AUTH_MODE that the user set is kept.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled
from ray.exceptions import AuthenticationError

from pipeline.errors import RunError

_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
_GIVE = "Set RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, or write the token into ~/.ray/auth_token."


@contextmanager
def for_local_ray() -> Iterator[None]:
    """For a Ray that this process starts: the user's token, else a random one in the environment of its processes."""
    mode = _mode() or "token"
    variables = {_MODE: mode}
    if mode == "token" and not _token(or_empty=True):
        variables[_TOKEN] = secrets.token_hex(32)
    with _environment(variables):
        yield


@contextmanager
def for_cluster(address: str, accepts: Callable[[str], bool]) -> Iterator[None]:
    """For the cluster at `address`.

    Args:
        address: for messages.
        accepts: whether the cluster accepts a token, or requests without one if it is empty.

    Raises:
        RunError: it requires a token and there is none, or a wrong one; or the user's mode is not the cluster's.
    """
    with _environment({_MODE: _mode_of_cluster(address, accepts)}):
        yield


def _mode_of_cluster(address: str, accepts: Callable[[str], bool]) -> str:
    mode = _mode()
    if accepts(""):
        if mode == "token":
            raise RunError(
                f"RAY_AUTH_MODE is token, but the Ray cluster at {address} uses no tokens, and its workers could not"
                " answer this process. Unset RAY_AUTH_MODE, or start the cluster with RAY_AUTH_MODE=token."
            )
        return "disabled"
    if mode == "disabled":
        raise RunError(
            f"The Ray cluster at {address} requires a token, but RAY_AUTH_MODE is disabled. Unset it. {_GIVE}"
        )
    token = _token()
    if not token:
        raise RunError(f"The Ray cluster at {address} requires a token, and none was found. {_GIVE}")
    if not accepts(token):
        raise RunError(
            f"The Ray cluster at {address} refuses the token of this process. Use that of the cluster: `ray"
            f" get-auth-token` on its head prints it. {_GIVE}"
        )
    return "token"


def _mode() -> str:
    """The mode that the user set, or an empty string."""
    mode = os.environ.get(_MODE, "").strip().lower()
    if mode not in ("", "token", "disabled"):
        raise RunError(f"RAY_AUTH_MODE is {mode!r}: set it to token or disabled, or unset it.")
    return mode


def _token(or_empty: bool = False) -> str:
    """The user's token, from where Ray reads it; empty if there is none."""
    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    try:
        return str(loader.get_raw_token(ignore_auth_mode=True))
    except (AuthenticationError, RuntimeError) as error:
        if or_empty:
            return ""
        raise RunError(f"Ray's token cannot be read: {str(error).partition('. ')[0]}. {_GIVE}") from error


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables, restore them afterwards, and make Ray read them, which it does once when it is imported."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _reload()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reload()


def _reload() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
