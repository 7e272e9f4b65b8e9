"""Finds credentials, region and endpoint of S3 in the places where every AWS tool looks.

botocore reads the environment, profiles, web identities and instance roles. Without botocore, obstore reads the
environment. Without any credentials, requests are anonymous.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

_REFRESH_EVERY = timedelta(minutes=5)
_OWN_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")


_ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
_IDENTITY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


def s3_environment() -> tuple[str | None, ...]:
    """The variables that decide credentials and endpoint: the cache key of clients made from them."""
    return tuple(map(os.environ.get, _ENDPOINT + _IDENTITY))


class S3Identity(NamedTuple):
    """Who signs requests, and where they go.

    Attributes:
        credentials: botocore's; None for anonymous requests.
        region: of the bucket.
        endpoint: the server that was named; empty for AWS's own.
    """

    credentials: Any
    region: str
    endpoint: str

    @property
    def base(self) -> str:
        """What the bucket is appended to."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"


@lru_cache(maxsize=8)
def s3_settings(environment: tuple[str | None, ...]) -> dict[str, Any]:
    """Keyword arguments of `obstore.store.S3Store` except the bucket; `environment` is `s3_environment()`."""
    identity = s3_identity(environment)
    if identity is None:
        return {**_endpoint(os.environ), **({} if _has_own_credentials() else {"skip_signature": True})}
    settings = {"region": identity.region, **({"endpoint": identity.endpoint} if identity.endpoint else {})}
    if identity.credentials is None:
        return {**settings, "skip_signature": True}
    return {**settings, "credential_provider": _provider(identity.credentials)}


@lru_cache(maxsize=8)
def s3_identity(environment: tuple[str | None, ...]) -> S3Identity | None:
    """What botocore finds; None if it is not installed. `environment` is `s3_environment()`."""
    try:
        from botocore.session import Session
    except ImportError:
        return None
    session = Session()
    profile = session.get_scoped_config() if session.profile in (None, *session.available_profiles) else {}
    region = session.get_config_variable("region") or "us-east-1"
    return S3Identity(session.get_credentials(), region, _endpoint(os.environ, profile).get("endpoint", ""))


def _endpoint(environment: Any, profile: dict[str, Any] | None = None) -> dict[str, str]:
    candidates = (environment.get("AWS_ENDPOINT_URL_S3"), environment.get("AWS_ENDPOINT_URL"))
    endpoint = next(filter(None, (*candidates, (profile or {}).get("endpoint_url"))), None)
    return {"endpoint": endpoint.rstrip("/")} if endpoint else {}


def _has_own_credentials() -> bool:
    return any(os.environ.get(variable) for variable in _OWN_VARIABLES)


def _provider(credentials: Any) -> Callable[[], dict[str, Any]]:
    """A function that returns current credentials to obstore; botocore renews those that expire.

    obstore's own Boto3CredentialProvider does the same, but imports boto3, which nothing else here needs.
    """

    def current() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _REFRESH_EVERY,
        }

    return current
