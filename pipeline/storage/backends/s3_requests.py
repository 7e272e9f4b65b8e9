"""Requests to S3 with keys exactly as they are: pages of a listing, and single objects with odd keys.

obstore cleans keys. It refuses `a//b`, `a/../b` and control characters, and one such key ends its whole listing; it
takes `/a` and `a/` for `a`. Listings therefore come from here, signed by botocore, and so do objects with such keys.
The many ordinary reads stay with obstore. Listing takes 0.02 ms of processor time per key, twice that of obstore and a
tenth of that of botocore's own client.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree

from pipeline.storage.backends.s3_session import s3_environment, s3_identity
from pipeline.storage.client_errors import HttpStatusError

_CLEANED = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]")
_CODE = re.compile(rb"<Code>(\w+)</Code>")
_CONNECT_S = 10.0
#: Kept open, for as many requests at once as listings and readers of odd keys send.
_CONNECTIONS = 32


class Entry(NamedTuple):
    """One key of a listing; `fingerprint` is its ETag, else its size and time."""

    key: str
    size_bytes: int
    fingerprint: str


def is_cleaned(key: str) -> bool:
    """Whether obstore refuses a key or requests another one in its place."""
    return bool(_CLEANED.search(key))


def is_available() -> bool:
    """Whether botocore is installed. Endpoints that contain the bucket's name are obstore's alone."""
    return s3_identity(s3_environment()) is not None and not _is_set("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")


def list_page(bucket: str, prefix: str, after: str, token: str, timeout_s: float) -> tuple[list[Entry], str]:
    """A page of a listing, at most 1,000 keys, and the token of the page after it; empty at the end.

    Args:
        bucket: its name.
        prefix: of the keys.
        after: the first page begins behind this key, if it is not empty.
        token: of the page; empty for the first.
        timeout_s: deadline, in seconds.
    """
    query = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
    place = {"continuation-token": token} if token else {"start-after": after} if after else {}
    body = _send("GET", bucket, "", timeout_s, query | place).content
    root = ElementTree.fromstring(body)
    space = root.tag.rpartition("}")[0] + "}" if "}" in root.tag else ""
    is_quoted = root.findtext(f"{space}EncodingType") == "url"
    entries = list(_entries(root, space, is_quoted))
    return entries, root.findtext(f"{space}NextContinuationToken") or ""


def _entries(root: ElementTree.Element, space: str, is_quoted: bool) -> Iterator[Entry]:
    key, size, etag = f"{space}Key", f"{space}Size", f"{space}ETag"
    for found in root.iterfind(f"{space}Contents"):
        texts = {child.tag: child.text or "" for child in found}
        name, size_bytes = texts.get(key, ""), int(texts.get(size) or 0)
        if is_quoted and ("%" in name or "+" in name):
            name = unquote_plus(name)
        mark = texts.get(etag, "").strip('"') or _mark(size_bytes, texts.get(f"{space}LastModified"))
        yield Entry(name, size_bytes, mark)


def head(bucket: str, key: str, timeout_s: float) -> tuple[int, str]:
    """Size and fingerprint of an object."""
    headers = _send("HEAD", bucket, key, timeout_s).headers
    size_bytes = int(headers.get("Content-Length") or 0)
    return size_bytes, (headers.get("ETag") or "").strip('"') or f"{size_bytes}-"


def get(bucket: str, key: str, timeout_s: float, span: str = "") -> bytes:
    """An object, or the `span` of it that a Range header names."""
    return bytes(_send("GET", bucket, key, timeout_s, headers={"Range": span} if span else {}).content)


def _send(
    method: str,
    bucket: str,
    key: str,
    timeout_s: float,
    query: Mapping[str, str] = {},
    headers: Mapping[str, str] = {},
) -> Any:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import ConnectTimeoutError, HTTPClientError, ReadTimeoutError

    identity = s3_identity(s3_environment())
    assert identity is not None, "is_available"
    address = f"{identity.base}/{quote(bucket)}/{quote(key, safe='/~')}".removesuffix("/" if not key else "")
    url = f"{address}?{urlencode(query, quote_via=quote, safe='')}" if query else address
    payer = {"x-amz-request-payer": "requester"} if _is_set("AWS_REQUEST_PAYER") else {}
    request = AWSRequest(method, url, headers={**headers, **payer})
    if identity.credentials is not None and not _is_set("AWS_SKIP_SIGNATURE"):
        S3SigV4Auth(identity.credentials.get_frozen_credentials(), "s3", identity.region).add_auth(request)
    try:
        answer = _http(identity.base, timeout_s).send(request.prepare())
        content = answer.content
    except (ConnectTimeoutError, ReadTimeoutError) as error:
        raise TimeoutError(str(error)) from error
    except HTTPClientError as error:
        raise ConnectionError(f"{error} {error.__context__!r}") from error
    if answer.status_code not in (200, 206):
        code = _CODE.search(content)
        raise HttpStatusError(answer.status_code, code[1].decode() if code else "")
    return answer


@lru_cache(maxsize=16)
def _http(endpoint: str, timeout_s: float) -> Any:
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    timeout = (min(_CONNECT_S, timeout_s), timeout_s)
    proxies = get_environ_proxies(endpoint)
    return URLLib3Session(verify=_authorities(), proxies=proxies, timeout=timeout, max_pool_connections=_CONNECTIONS)


def _authorities() -> str | bool:
    """The certificate authorities: the user's, else the system's, which obstore uses, else those of botocore."""
    given = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    return given or ssl.get_default_verify_paths().cafile or True


def _is_set(variable: str) -> bool:
    """Whether a switch of obstore is on in the environment."""
    return os.environ.get(variable, "").lower() in ("1", "true", "on", "yes", "y")


def _mark(size_bytes: int, modified: str | None) -> str:
    moment = datetime.fromisoformat(modified).timestamp() if modified else 0
    return f"{size_bytes}-{int(moment * 1e6)}"
