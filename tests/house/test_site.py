"""Test the pages of the documentation site: the reference says what the code does, and links lead to pages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from docs.generate.command_line import command_pages
from docs.generate.configuration import configuration_pages
from docs.generate.dead_links import dead_links
from docs.generate.navigation import NavigationError, navigation
from docs.generate.outcomes import outcome_pages
from docs.generate.staging import BrokenLinkError, linked, stage
from flows.options.run import RUN
from pipeline.errors import HanclipError, UsageError
from pipeline.vocabulary import EXIT_CODES, Reason


def row_of(page: str, name: str) -> str:
    """The row of a table that begins with `name`."""
    [row] = [line for line in page.splitlines() if re.match(rf"\| (`|<code>){re.escape(name)}(?![\w-])", line)]
    return row


def test_every_option_of_a_run_is_on_the_page_of_embed_with_its_help_and_default() -> None:
    page = command_pages()["reference/commands/embed.md"]
    for option in RUN.fields():
        assert row_of(page, option.flag)
    assert "Reads in flight per decoder. Default: `32`. At least 1." in row_of(page, "--read-concurrency")
    assert "hanclip embed items.parquet out/ --id-column sku" in page
    assert "[dim]" not in page


def test_every_key_of_the_configuration_is_there_with_its_type_and_default() -> None:
    [page] = configuration_pages().values()
    assert "(number, at least 0, at most 1; default `0.05`)" in row_of(page, "max_quarantine")
    assert "`auto` or `folder` or `webdataset`" in row_of(page, "format")
    assert "Option: `--drop-column`." in row_of(page, "drop_columns")


def test_every_reason_has_a_meaning_and_a_cure_and_every_exit_code_a_meaning() -> None:
    codes, reasons = outcome_pages().values()
    for reason in Reason:
        assert all(cell.strip() for cell in row_of(reasons, reason).strip("|").split("|"))
    assert row_of(reasons, "timeout").startswith("| `timeout` *retry* |")
    assert {HanclipError.exit_code, UsageError.exit_code, 0, 3, 130, 143} == set(EXIT_CODES)
    assert "nothing was started" in row_of(codes, "2")


def test_the_staged_site_has_every_page_once_in_its_navigation(tmp_path: Path) -> None:
    stage(tmp_path / "site")
    pages = {str(path.relative_to(tmp_path / "site/docs")) for path in (tmp_path / "site/docs").rglob("*.md")}
    settings = tomllib.loads((tmp_path / "site/zensical.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"[\w/-]+\.md", str(settings["nav"]))
    assert sorted(named) == sorted(pages)
    api = (tmp_path / "site/docs/reference/api.md").read_text(encoding="utf-8")
    for route in ("POST /v1/embeddings", "POST /v1/search", "GET /healthz"):
        assert f"## `{route}`" in api
    metrics = (tmp_path / "site/docs/reference/metrics.md").read_text(encoding="utf-8")
    assert row_of(metrics, "hanclip_records_quarantined").endswith("Records committed as quarantine (counter) |")
    assert "`route`, `status`, `key`" in row_of(metrics, "hanclip_serve_requests_total")


def test_a_page_that_the_navigation_names_must_exist() -> None:
    with pytest.raises(NavigationError, match=r"names architecture\.md, which is no page"):
        navigation([])


def test_names_and_links_of_pages_lead_to_their_place_on_the_site() -> None:
    places = {"docs/zh/a.md": "zh/a.md", "docs/filter.md": "filter.md"}
    titles = {"zh/a.md": "A", "filter.md": "Filtering"}

    def staged(text: str) -> str:
        return linked("docs/zh/a.md", text, places, titles)

    assert staged("see `docs/filter.md`.") == "see [Filtering](../filter.md)."
    assert staged("[filter](../filter.md#rules)") == "[filter](../filter.md#rules)"
    assert staged("[../filter.md](../filter.md)") == "[Filtering](../filter.md)"
    assert staged("[filter.md](../filter.md)") == "[Filtering](../filter.md)"
    assert staged("[rules](../rules.yaml), [code](../../scripts/test)") == "[rules](../rules.yaml), code"
    assert staged("```bash\ncat `docs/filter.md`\n```") == "```bash\ncat `docs/filter.md`\n```"
    with pytest.raises(BrokenLinkError, match=r"there is no docs/gone\.md"):
        staged("[gone](../gone.md)")


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="there">B</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">1</a><a href="b.html#gone">2</a><a href="c.html">3</a><a href="https://a.example">4</a>'
        '<a href="#gone">5</a><script src="https://cdn.example/x.js"></script><a href="/b.html">6</a>'
    )
    assert list(dead_links(tmp_path)) == [
        "a.html: b.html#gone: there is no such anchor",
        "a.html: c.html: there is no such file",
        "a.html: #gone: there is no such anchor",
        "a.html: fetches https://cdn.example/x.js from elsewhere",
    ]
