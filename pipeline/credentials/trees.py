"""Refuses credentials anywhere in a tree of plain values, such as the parameters of a deployment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.credentials.addresses import refuse_credentials
from pipeline.credentials.names import HEADER_WITHOUT_CREDENTIALS, secret_header


def refuse_credentials_in(tree: object) -> None:
    """Raise ValueError, as `refuse_credentials` does, if any text in a tree of plain values carries credentials."""
    if isinstance(tree, str):
        refuse_credentials(tree)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "http_headers":
                _refuse_secret_headers(value)
            refuse_credentials_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            refuse_credentials_in(value)


def _refuse_secret_headers(lines: object) -> None:
    for line in lines if isinstance(lines, list | tuple) else ():
        if not re.search(HEADER_WITHOUT_CREDENTIALS, str(line)):
            raise secret_header(re.split("[:@]", str(line), maxsplit=1)[0].strip())
