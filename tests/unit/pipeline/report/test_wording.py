"""Test the words of all pages: both languages are complete, and the templates have no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from pipeline.pages.shared import LANGUAGES, read_words
from pipeline.report.page import render
from pipeline.report.wording import Phrase, attribute, catalog, content, listed, say
from tests.fixtures.places import ROOT

REPORT = ROOT / "pipeline" / "report"
SERVED = ROOT / "pipeline" / "serving" / "page" / "catalog"
TEMPLATES = sorted((REPORT / "templates").rglob("*.j2"))
#: Attributes that a reader sees or hears.
READ = {"title", "alt", "aria-label", "placeholder"}
_VALUE = re.compile(r"\{(\w+)(?::[^}]+)?\}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_every_text_is_in_both_languages_with_the_same_values_and_commands() -> None:
    assert len(catalog()) > 150
    for key, texts in [*catalog().items(), *read_words(SERVED).items()]:
        assert set(texts) == set(LANGUAGES), key
        english, chinese = texts["en"], texts["zh"]
        assert english.strip(), key
        assert chinese.strip(), key
        assert set(_VALUE.findall(english)) == set(_VALUE.findall(chinese)), key
        assert sorted(re.findall("`[^`]+`", english)) == sorted(re.findall("`[^`]+`", chinese)), key
        if key != "page.switch":
            assert not _CHINESE.search(english), key
        # A sentence has a verb: what is not translated can only be a name or a form of numbers.
        assert (
            _CHINESE.search(chinese)
            or len(re.findall("[A-Za-z]{2,}", _VALUE.sub("", chinese))) <= 2
            or (key == "page.switch")
        ), key


class Visible(HTMLParser):
    """Texts of a template that a reader sees."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(source)

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in READ]


def visible(path: Path) -> Iterator[str]:
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from Visible(source).found


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_words_of_their_own(path: Path) -> None:
    assert [text for text in visible(path) if any(map(str.isalpha, text))] == []
    for node in jinja2.Environment().parse(path.read_text(encoding="utf-8")).find_all(nodes.Const):
        if isinstance(node.value, str):  # a key, a name of a class, or an attribute, but no words
            assert not re.search(r"[A-Za-z]\s+[A-Za-z]|[A-Z][a-z]", node.value), node.value


def test_every_key_that_is_written_out_is_in_the_catalog() -> None:
    keys = re.compile(r"""\b(?:say|term|number|explained)\(\s*["']([\w.-]+)["']\s*[,)]""")
    used = {key for path in [*TEMPLATES, *REPORT.rglob("*.py")] for key in keys.findall(path.read_text("utf-8"))}
    assert len(used) > 100
    assert used <= set(catalog())


def test_a_phrase_counts_and_escapes_its_values() -> None:
    assert Phrase("similarity.without", (("rows", 1),)).text("en") == "1 row has no text."
    assert say("similarity.without", rows=2000).text("en") == "2,000 rows have no text."
    assert say("similarity.without", rows=2000).text("zh") == "另有 2,000 行没有文本。"
    hostile = say("page.report_on", name="<b>`{name}`*\u202e")
    assert hostile.html("en") == "Report on &lt;b&gt;`{name}`*&lt;U+202E&gt;"
    assert attribute(say("page.report_on", name='"'), "title") == (
        'title="Report on &#34;" data-zh-title="数据集报告：&#34;"'
    )
    assert content(say("page.report_on", name="</title>"), "title").startswith(
        '<title data-zh="数据集报告：&lt;/title&gt;">Report on &lt;'
    )
    assert listed([say("page.yes"), "a"]).__html__().startswith('<span class="en">yes, a</span>')  # type: ignore[union-attr]
    assert "<code>hanclip verify</code>" in say("counts.wrong").html("zh")
    assert '<code><span class="option">--top</span></code>' in say("search.found", hits=1).html("en")


def test_an_explanation_belongs_to_a_phrase_or_to_a_rung() -> None:
    explained = {key.removesuffix("_why") for key in catalog() if key.endswith("_why")}
    assert {key for key in explained - set(catalog()) if not key.startswith("rung.")} == {"similarity.quantiles"}


def test_render_is_strict_about_names(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("search.html.j2")
