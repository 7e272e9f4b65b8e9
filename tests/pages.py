"""What a page of hanclip's holds, read with the standard library's parser: as a browser would, and not as text."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

_VOID = {"meta", "img"}


class Page(HTMLParser):
    """One page.

    Attributes:
        tags: every start tag with its attributes.
        texts: the text of each element that has an `id`.
        cards: caption, id and note of each picture card, by the id of its section.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.cards: dict[str, list[dict[str, str]]] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append((tag, known))
        if tag == "li" and "card" in (known.get("class") or ""):
            self.cards.setdefault(self._section(), []).append({"marked": str("marked" in (known["class"] or ""))})
        if tag not in _VOID:
            self._open.append((tag, known))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, attrs in self._open:
            if attrs.get("id"):
                self.texts[str(attrs["id"])] = self.texts.get(str(attrs["id"]), "") + data
        classes = {word for _, attrs in self._open[-1:] for word in (attrs.get("class") or "").split()}
        for name in classes & {"text", "note", "rid", "gap"}:
            if self._section() in self.cards:
                self.cards[self._section()][-1][name] = data

    def _section(self) -> str:
        return next((str(attrs["id"]) for tag, attrs in self._open if tag == "section"), "")

    def number(self, name: str) -> int:
        """The count that the element `name` shows."""
        return int(self.texts[name].replace(",", ""))

    def references(self) -> list[str]:
        """Every address that the page leads to or loads."""
        names = ("src", "href", "srcset", "action", "xlink:href", "data", "poster")
        return [str(attrs[name]) for _, attrs in self.tags for name in names if name in attrs]

    def pictures(self) -> list[Image.Image]:
        """The pictures that the page carries, decoded."""
        uris = [str(attrs["src"]) for tag, attrs in self.tags if tag == "img"]
        opened = [Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))) for uri in uris]
        for picture in opened:
            picture.load()
        return opened

    def check_alone(self) -> None:
        """Nothing leads out of the page, nothing but its own script can run, and everything has a name."""
        assert all(reference.startswith(("#", "data:image/")) for reference in self.references())
        assert "url(" not in self.source
        assert "@import" not in self.source
        scripts = [attrs for tag, attrs in self.tags if tag == "script"]
        assert scripts == [{}]
        assert not [name for _, attrs in self.tags for name in attrs if name.startswith("on")]
        [policy] = [attrs["content"] for _, attrs in self.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
        assert str(policy).startswith("default-src 'none'; img-src data:")
        assert all(attrs.get("alt") for tag, attrs in self.tags if tag == "img")
        assert all(attrs.get("aria-label") for tag, attrs in self.tags if tag == "svg")
        ids = [attrs["id"] for _, attrs in self.tags if attrs.get("id")]
        assert len(ids) == len(set(ids))
        assert {reference[1:] for reference in self.references() if reference.startswith("#")} <= set(ids)
        assert [attrs.get("lang") for tag, attrs in self.tags if tag == "html"] == ["en"]
