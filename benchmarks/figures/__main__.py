"""Writes the figures between the markers of the pages; prints the pages that changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures.readme import figures
from benchmarks.figures.results import newest
from benchmarks.figures.sections import section

ROOT = Path(__file__).parents[2]
_MARKED = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
_MISSING = "No result is stored."


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page with figures: its path, its text, and the text that it should have."""
    results = newest()
    blocks = {kind: section(result) for kind, result in results.items()}
    blocks |= {"readme": figures(results, "en"), "readme.zh": figures(results, "zh")}
    for path in (ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "docs" / "benchmarks.md"):
        text = path.read_text(encoding="utf-8")
        yield path, text, _MARKED.sub(lambda found: f"{found[1]}{blocks.get(found[2], _MISSING)}\n{found[3]}", text)


def main() -> None:
    """Write them."""
    for path, text, wanted in pages():
        if text != wanted:
            path.write_text(wanted, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
