"""Test that pages in English and Chinese have the same facts: commands, code, figures, names, links and sections."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from posixpath import normpath

import pytest

from docs.generate.markdown import NAMED_PAGE
from tests.fixtures.places import ROOT

PAIRS = [("README.md", "README.zh-CN.md")] + [
    (f"docs/{path.name}", f"docs/zh/{path.name}") for path in sorted((ROOT / "docs" / "zh").glob("*.md"))
]
CODE = re.compile(r"`([^`]+)`")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s]+)\)")
PAIRED = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[pair[0] for pair in PAIRS])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """The page without its blocks of code and without comments."""
    return re.sub(r"<!--.*?-->", "", FENCED.sub("", text(name)))


def code(name: str) -> list[tuple[str, list[str]]]:
    """Each block of code with its language, without the comments behind its lines."""
    blocks = FENCED.findall(text(name))
    return [(kind, [re.sub(r"\s+# .*", "", line) for line in block.splitlines()]) for kind, block in blocks]


def numbers(part: str) -> Counter[str]:
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", part))


def spans(part: str) -> set[str]:
    """Code in a text, without the pages that it names: those are among the targets."""
    return set(CODE.findall(NAMED_PAGE.sub("", part)))


def rows(name: str) -> list[str]:
    return [line for line in prose(name).splitlines() if line.startswith("|")]


def targets(name: str) -> set[tuple[str, str]]:
    """Paths and anchors that a page links to, and the pages that it names: on the site these are links, too."""
    found = {(path, "") for path in NAMED_PAGE.findall(prose(name))}
    for _, target in LINK.findall(prose(name)):
        path, _, anchor = target.partition("#")
        found.add((path if "://" in path else normpath(str(Path(name).parent / path)), anchor))
    return found


def links(name: str) -> set[tuple[str, str]]:
    """Targets, those of pages in two languages by the English one."""
    same = {chinese: english for english, chinese in PAIRS}
    return {(same.get(path, path), anchor) for path, anchor in targets(name)} - {(PAIRS[0][0], "")}


def test_the_pages_that_are_used_most_are_in_two_languages() -> None:
    newcomers, commands = ("quick-start", "clean", "nightly", "models"), ("embed", "dedup", "filter", "search", "serve")
    assert {english for english, _ in PAIRS} == {"README.md", *(f"docs/{name}.md" for name in newcomers + commands)}


@PAIRED
def test_both_languages_have_the_same_code(english: str, chinese: str) -> None:
    assert code(english) == code(chinese)
    assert code(english)


@PAIRED
def test_both_languages_have_the_same_tables(english: str, chinese: str) -> None:
    assert len(rows(english)) == len(rows(chinese))
    for one, other in zip(rows(english), rows(chinese), strict=True):
        assert (numbers(one), spans(one)) == (numbers(other), spans(other)), f"{one}\n{other}"


@PAIRED
def test_both_languages_have_the_same_numbers_names_links_and_sections(english: str, chinese: str) -> None:
    assert set(numbers(prose(english))) == set(numbers(prose(chinese)))
    assert spans(" ".join(prose(english).split())) == spans(" ".join(prose(chinese).split()))
    assert links(english) == links(chinese)
    levels = [re.findall(r"^#+(?= )", prose(name), re.MULTILINE) for name in (english, chinese)]
    assert levels[0] == levels[1]


@PAIRED
def test_a_chinese_page_leads_to_chinese_pages_where_there_are_any(english: str, chinese: str) -> None:
    others = {one for one, _ in PAIRS} - {english}
    assert others.isdisjoint(path for path, _ in targets(chinese))


@pytest.mark.parametrize("chinese", [pair[1] for pair in PAIRS])
def test_chinese_is_set_as_chinese(chinese: str) -> None:
    """Full-width punctuation, a space between Chinese and Latin, and no line breaks that would show as spaces."""
    shown = LINK.sub(r"\1", prose(chinese)).replace("**", "")
    shown = CODE.sub(lambda span: re.sub("[\u4e00-\u9fff]", "x", span[1]), shown)
    assert re.findall(r".{8}[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff].{8}", shown) == []
    assert re.findall(r".{8}[\u4e00-\u9fff] ?[,;:?!()].{8}", shown) == []
    assert re.findall(r".*[\u4e00-\u9fff，。；：、]\n[^\n|#>\d-].*", shown) == []


@pytest.mark.parametrize("name", PAIRS[0])
def test_a_readme_has_at_most_200_lines(name: str) -> None:
    assert len(text(name).splitlines()) <= 200


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair] + ["docs/backfill.md"])
def test_links_lead_to_files_and_sections_that_exist(name: str) -> None:
    for _, target in LINK.findall(prose(name)):
        path, _, anchor = target.partition("#")
        if "://" not in path:
            found = (ROOT / name).parent / path if path else ROOT / name
            assert found.exists(), target
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, target
