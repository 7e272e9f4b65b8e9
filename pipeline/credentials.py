"""Credentials inside addresses: found, refused in what users type, taken off what is stored.

Pure text in and out. A user or a password before the host is one, and so is the query of a presigned URL. Both would
end up in plans, datasets and logs, where whoever may read the vectors could read them too.
"""

from __future__ import annotations

import re

#: Schemes whose `name@` is a container or a login name and grants nothing by itself.
_HARMLESS_USERS = frozenset({"abfs", "abfss", "wasb", "wasbs", "sftp", "ssh", "hdfs", "webhdfs", "smb"})
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/?#:]*)(?P<password>:[^/?#]*)?@")
#: AWS, Google, Azure, OSS, COS and CloudFront: `X-Amz-Signature`, `X-Goog-Credential`, `sig`, `OSSAccessKeyId`, ...
_SIGNATURE = re.compile(r"[?&;]([\w-]*(signature|credential|security-token|accesskeyid)|sig)=", re.IGNORECASE)


def refuse_credentials(uri: str) -> str:
    """Return `uri` unless it carries credentials.

    Raises:
        ValueError: it does; the message names neither them nor the rest of the address.
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
    """`uri` as it may be stored: without user and password, and of a presigned URL without the whole query."""
    # Asked of every row of a table, so the patterns are tried only on what has the one character that each needs.
    if "://" not in uri or not ("@" in uri or "=" in uri):
        return uri
    bare = _USERINFO.sub(lambda found: f"{found['scheme']}://" if _is_secret(found) else found[0], uri)
    return bare.partition("?")[0] if _SIGNATURE.search(bare) else bare


def _is_secret(found: re.Match[str]) -> bool:
    return bool(found["password"]) or found["scheme"].lower() not in _HARMLESS_USERS
