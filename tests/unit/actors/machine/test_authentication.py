"""The mode and the token of a connection: the cluster decides, unless the user did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.machine.authentication import for_cluster
from pipeline.errors import RunError

_ENV = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mode, no token, an empty HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in _ENV:
        monkeypatch.delenv(name, raising=False)


def requires(right: str) -> Callable[[str], bool]:
    """A cluster that requires this token, or none if it is empty."""
    return lambda token: right in ("", token)


@pytest.mark.parametrize(
    ("right", "environment", "named"),
    [
        ("right", {}, "requires a token, and none was found"),
        ("right", {"RAY_AUTH_MODE": "token"}, "requires a token, and none was found"),
        ("right", {"RAY_AUTH_TOKEN": "wrong"}, "refuses the token of this process"),
        ("right", {"RAY_AUTH_TOKEN_PATH": "/no/such/file"}, "cannot be read: .*/no/such/file"),
        ("right", {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "right"}, "RAY_AUTH_MODE is disabled. Unset it"),
        ("", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "any"}, "uses no tokens.*Unset RAY_AUTH_MODE"),
        ("", {"RAY_AUTH_MODE": "kerberos"}, "set it to token or disabled"),
    ],
)
def test_what_does_not_match_the_cluster_is_named_at_once(
    right: str, environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=named) as raised, for_cluster("head:6379", requires(right)):
        pass
    assert not any(token in str(raised.value) for token in ("right", "wrong"))
