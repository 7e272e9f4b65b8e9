"""Knows which headers are credentials, by their names, and refuses their values in the clear.

In: lines such as `Cookie: env:COOKIE`. Out: whether they may be stored and shown.
"""

from __future__ import annotations

import re

#: Parts of the names of headers whose values are secrets: `Authorization`, `Cookie`, `X-Api-Key`, ...
_SECRET_WORDS = (
    *("authorization", "auth-", "-auth", "cookie", "token", "secret", "password", "credential", "signature"),
    *("api-key", "apikey", "access-key", "session"),
)
_SECRET_HEADER = re.compile("|".join(_SECRET_WORDS), re.IGNORECASE)
_IN_ANY_CASE = "|".join(re.sub("[a-z]", lambda one: f"[{one[0].upper()}{one[0]}]", word) for word in _SECRET_WORDS)
#: The pattern of a header, for the same servers: a secret is the name of an environment variable.
HEADER_WITHOUT_CREDENTIALS = (
    rf"^(?![^:@]*({_IN_ANY_CASE})[^:@]*(:|@\S*:(?=\s)|@\S*$)(?!\s*env:[A-Za-z_][A-Za-z0-9_]*\s*$))"
)


def is_secret_header(name: str) -> bool:
    """Whether the value of a header of this name is a credential."""
    return bool(_SECRET_HEADER.search(name))


def secret_header(name: str) -> ValueError:
    """The error for a header with a secret in the clear."""
    return ValueError(
        f"the value of {name} is a secret: put it into an environment variable, and write '{name}: env:VARIABLE'"
    )
