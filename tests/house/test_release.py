"""Test that a version, and the version of Python that the tests run on, are stated alike wherever they are stated."""

from __future__ import annotations

import re
import sys
import tomllib
from datetime import date

import yaml

from pipeline import __version__
from tests.fixtures.places import ROOT


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_newest_release_of_the_changelog_is_this_version_and_the_cited_one() -> None:
    releases = re.findall(r"^## (\S+) - (\S+)$", text("CHANGELOG.md"), re.MULTILINE)
    dates = [date.fromisoformat(day) for _, day in releases]
    assert dates == sorted(dates, reverse=True)
    cited = yaml.safe_load(text("CITATION.cff"))
    assert (cited["version"], cited["date-released"]) == releases[0]
    assert releases[0][0] == __version__


def test_each_entry_of_the_newest_release_is_under_the_people_whom_it_concerns() -> None:
    before, *sections = text("CHANGELOG.md").partition("\n## ")[2].partition("\n## ")[0].split("\n### ")
    assert "\n- " not in before
    assert sections[0].startswith("When you upgrade\n")
    assert all("\n- " in section for section in sections)


def test_a_version_of_python_is_named_as_supported_only_if_the_tests_run_on_it() -> None:
    project = tomllib.loads(text("pyproject.toml"))
    named = [one.rpartition(" ")[2] for one in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert named == ["3.11"], "CI runs on the first of them: name another one when CI runs on it, too"
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["tool"]["mypy"]["python_version"] == "3.11"
    assert project["tool"]["ruff"]["target-version"] == "py311"
    assert sys.version_info >= (3, 11)
    for name in ("README.md", "CONTRIBUTING.md", "infra/docker/Dockerfile.cpu", "infra/docker/Dockerfile.gpu"):
        assert set(re.findall(r"[Pp]ython[ :](3\.\d+)", text(name))) <= {"3.11"}, name
