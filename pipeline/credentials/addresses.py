"""Finds credentials in addresses: refuses them in user input, and removes them from what is stored.

Text in, text out. A user or a password before the host is a credential, and so is the query of a presigned URL. Both
would end up in plans, datasets and logs, where everybody who may read the vectors could read them.
"""

from __future__ import annotations

import re

#: Schemes in which `name@` is a container or a login name, which grants nothing without a password.
_HARMLESS_USERS = frozenset({"abfs", "abfss", "wasb", "wasbs", "sftp", "ssh", "hdfs", "webhdfs", "smb", "postgresql"})
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/?#:]*)(?P<password>:[^/?#]*)?@")
#: As a JSON schema's pattern, for servers that check parameters before they store them. It finds the credentials before
#: a host, and the usual signatures; what it misses is refused later.
WITHOUT_CREDENTIALS = (
    r"^(?![\s\S]*://[^/?#:@]*:[^/?#]*@)(?!([\s\S]*::)?(https?|s3|gs|az|oss|cos)://[^/?#]*@)"
    r"(?![\s\S]*://[\s\S]*[?&;]([\w-]*([Ss]ignature|[Cc]redential|[Ss]ecurity-[Tt]oken|[Aa]ccess[Kk]ey[Ii]d)|sig)=)"
)
#: AWS, Google, Azure, OSS, COS and CloudFront: `X-Amz-Signature`, `X-Goog-Credential`, `sig`, `OSSAccessKeyId`, ...
_SIGNATURE = re.compile(r"[?&;]([\w-]*(signature|credential|security-token|accesskeyid)|sig)=", re.IGNORECASE)


def refuse_credentials(uri: str) -> str:
    """Return `uri` unless it carries credentials.

    Raises:
        ValueError: it does; the message repeats neither them nor the rest of the address.
    """
    if "://" not in uri:
        return uri
    if any(map(_is_secret, _USERINFO.finditer(uri))):
        raise ValueError(
            "a URL carries a user or a password before its host: give credentials in the environment instead"
        )
    if _SIGNATURE.search(uri):
        raise ValueError(
            "a URL carries a signature or an access key in its query: give credentials in the environment instead, "
            "or put signed URLs of images into the image column of a table"
        )
    return uri


def without_credentials(uri: str) -> str:
    """`uri` as it may be stored: without user and password; a presigned URL loses its whole query."""
    # Called for every row of a table, so the patterns are tried only on text with the one character that each needs.
    if "://" not in uri or not ("@" in uri or "=" in uri):
        return uri
    bare = _USERINFO.sub(lambda found: f"{found['scheme']}://" if _is_secret(found) else found[0], uri)
    return bare.partition("?")[0] if _SIGNATURE.search(bare) else bare


def _is_secret(found: re.Match[str]) -> bool:
    return bool(found["password"]) or found["scheme"].lower() not in _HARMLESS_USERS
