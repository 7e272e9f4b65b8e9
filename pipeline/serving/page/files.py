"""The files of the page, as they are sent.

In: the folder `static`, the words of `catalog` and what all pages share. Out: the page, and its files under a path that
has their digest, so that browsers keep them for as long as they are those of this version. There are no data in any of
them, so they need no key.

The policy allows the page to load what this server sends and nothing else: no script or style in the page itself, no
other host, no frame. Trusted types make the browser refuse code that would turn text into markup.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.pages.shared import LANGUAGES, read_words, shared_file
from pipeline.visible import HIDDEN

#: The path of the page's files, and of the page.
FOLDER, PAGE = "/page/", "/"
_HERE = Path(__file__).parent
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
#: For every answer that a browser may show or load, besides what every answer has.
GUARDS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page."""

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The page and its files.

    Attributes:
        index: the page.
        digest: of all files.
        files: by name.
    """

    index: bytes
    digest: str
    files: Mapping[str, PageFile]


def is_of_page(path: str) -> bool:
    """Whether a path is of the page, which needs no key."""
    return path == PAGE or path.startswith(FOLDER)


@cache
def page_files() -> PageFiles:
    """Read them, once."""
    files = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir() if path.suffix in _TYPES}
    files |= {name: shared_file(name).encode() for name in ("early.js", "theme.js")}
    files["page.css"] = shared_file("look.css").encode() + b"\n" + files["page.css"]
    files["words.js"] = _words()
    index = (_HERE / "static" / "index.html").read_bytes()
    digest = hashlib.sha256(index)
    for name, body in sorted(files.items()):
        digest.update(name.encode() + body)
    folder = digest.hexdigest()[:16]
    types = {name: _TYPES[Path(name).suffix] for name in files}
    return PageFiles(
        index.replace(b"{folder}", f"{FOLDER[1:]}{folder}".encode()),
        folder,
        {name: PageFile(body, types[name]) for name, body in files.items()},
    )


def _words() -> bytes:
    """The words of the page, and which characters are shown as signs, as a module."""
    words = {key: [texts[language] for language in LANGUAGES] for key, texts in read_words(_HERE / "catalog").items()}
    return f"export const words = {json.dumps(words)};\nexport const hidden = {json.dumps(HIDDEN.pattern)};\n".encode()
