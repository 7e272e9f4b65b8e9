"""Stages the site: every page under its path, the settings with the navigation, and what pages link to.

In: `docs/`, some pages beside it, and the reference. Out: a folder with `zensical.toml` and `docs/`.

Hand-written pages name each other by their path in the repository, as `docs/filter.md`, which is what a reader of the
repository needs. On the site such a name becomes a link with the page's title.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from docs.generate.markdown import NAMED_PAGE
from docs.generate.navigation import navigation
from docs.generate.reference import reference_pages

ROOT = Path(__file__).parents[2]
_EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/README.md"))
#: Pages outside of docs/, and their paths on the site.
BESIDE = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "demo/README.md": "demo.md",
    "infra/README.md": "deploy.md",
    "examples/README.md": "examples/index.md",
    **{f"examples/{name}/README.md": f"examples/{name}.md" for name in _EXAMPLES},
}
#: Files other than pages that are part of the site.
_ASSETS = ("*.css", "*.js", "*.png", "*.svg", "rules.yaml")

_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s#]*)(#[^()\s]*)?\)")
_PICTURE = re.compile(r'(<img src=")([^":]+)"')
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


class BrokenLinkError(Exception):
    """A page names a page or a file that does not exist."""


def stage(folder: Path) -> None:
    """Write everything that the site generator reads into `folder`, which is emptied. Raises BrokenLinkError."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = site_pages()
    for name, text in pages.items():
        target = folder / "docs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for pattern in _ASSETS:
        for asset in (ROOT / "docs").rglob(pattern):
            target = folder / "docs" / asset.relative_to(ROOT / "docs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(asset, target)
    settings = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    (folder / "zensical.toml").write_text(settings.replace("[project]\n", f"[project]\nnav = {navigation(pages)}\n", 1))


def site_pages() -> dict[str, str]:
    """Markdown of every page by its path on the site. Raises BrokenLinkError."""
    written = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in written_pages()}
    made = reference_pages()
    places = {name: on_site(name) for name in written} | {f"docs/{name}": name for name in made}
    titles = {places[name]: title(text) for name, text in written.items()}
    titles |= {name: title(text) for name, text in made.items()}
    staged = {places[name]: linked(name, text, places, titles) for name, text in written.items()}
    return staged | made


def written_pages() -> list[Path]:
    """The pages that are written by hand."""
    return [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in BESIDE)]


def on_site(name: str) -> str:
    """The path on the site of a page in the repository."""
    return BESIDE.get(name) or name.removeprefix("docs/")


def title(text: str) -> str:
    """The heading of a page."""
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def linked(name: str, text: str, places: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """A page whose links lead to pages of the site; other files of the repository are named, and not linked.

    Args:
        name: the page in the repository.
        text: its Markdown.
        places: paths on the site by paths in the repository.
        titles: headings by paths on the site.

    Raises:
        BrokenLinkError: a page or a file does not exist.
    """
    here = PurePosixPath(places[name])

    def to(place: str) -> str:
        return relpath(place, here.parent)

    def named(found: re.Match[str]) -> str:
        place = places.get(found[1])
        return f"[{titles[place]}]({to(place)})" if place and place != str(here) else found[0]

    def link(found: re.Match[str]) -> str:
        shown, address, anchor = found[1], found[2], found[3] or ""
        if "://" in address or not address:
            return found[0]
        target = normpath(PurePosixPath(name).parent / address)
        if place := places.get(target):
            is_path = f"/{address}".endswith(f"/{shown.strip('`')}")
            return f"[{titles[place] if is_path else shown}]({to(place)}{anchor})"
        if not (ROOT / target).exists():
            raise BrokenLinkError(f"{name}: there is no {target}, to which {found[0]} leads. Correct it.")
        is_asset = target.startswith("docs/") and any(PurePosixPath(target).match(pattern) for pattern in _ASSETS)
        return f"[{shown}]({to(target.removeprefix('docs/'))})" if is_asset else shown

    def picture(found: re.Match[str]) -> str:
        target = normpath(PurePosixPath(name).parent / found[2])
        return f'{found[1]}{to(target.removeprefix("docs/"))}"'

    parts = _FENCE.split(_COMMENT.sub("", text))
    for number, part in enumerate(parts):
        if not number % 2:  # no block of code
            parts[number] = NAMED_PAGE.sub(named, _PICTURE.sub(picture, _LINK.sub(link, part)))
    return "".join(parts)
