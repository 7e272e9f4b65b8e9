"""`python -m docs.generate.dead_links FOLDER`: finds links of a built site that lead nowhere.

In: the folder of the site. Out: a line for each link to a file or an anchor that is not there, and for each script,
style sheet or picture that would be fetched from elsewhere; exit code 1 if there is any.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Linked(HTMLParser):
    """Anchors of a page, and its addresses with whether the browser fetches them by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what matters of an element."""
        given = dict(attrs)
        self.anchors.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        fetched = tag != "a" and not (tag == "link" and given.get("rel") == "canonical")
        self.addresses += [(address, fetched) for key in ("href", "src") if (address := given.get(key))]


def dead_links(folder: Path) -> Iterator[str]:
    """A sentence for each link that leads nowhere, and for each resource of another host."""
    folder = folder.resolve()
    pages = {path: Linked(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(folder)
        for address, fetched in dict.fromkeys(page.addresses):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if fetched and parts.scheme != "data":
                    yield f"{name}: fetches {address} from elsewhere"
            elif trouble := _trouble(_target(folder, path, unquote(parts.path)), unquote(parts.fragment), pages):
                yield f"{name}: {address}: {trouble}"


def _target(folder: Path, source: Path, address: str) -> Path:
    """The file that a page links to; an address without a host that begins with / is that of the site's folder."""
    if not address:
        return source
    target = folder / address.lstrip("/") if address.startswith("/") else source.parent / address
    return (target / "index.html" if target.is_dir() else target).resolve()


def _trouble(target: Path, anchor: str, pages: Mapping[Path, Linked]) -> str:
    if not target.exists():
        return "there is no such file"
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "there is no such anchor"
    return ""


if __name__ == "__main__":
    found = list(dead_links(Path(sys.argv[1])))
    sys.stderr.writelines(f"{line}\n" for line in found)
    sys.exit(bool(found))
