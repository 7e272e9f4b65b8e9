"""Extras: which package belongs to which, and the command that installs one however hanclip was installed."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pipeline import extras
from tests.fixtures.places import ROOT


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that pip recorded this origin and that Python runs in this environment."""

    def install(origin: dict[str, Any], prefix: Path = Path("/env"), checkout: Path = Path("/gone")) -> None:
        monkeypatch.setattr(extras, "_origin", lambda: origin)
        monkeypatch.setattr(sys, "prefix", str(prefix))
        monkeypatch.setattr(sys, "executable", str(prefix / "bin" / "python"))
        monkeypatch.setattr(extras, "__file__", str(checkout / "pipeline" / "extras.py"))
        extras.install_command.cache_clear()

    yield install
    monkeypatch.undo()
    extras.install_command.cache_clear()


def test_every_extra_is_known_with_all_its_packages():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [f"{line}; extra == '{extra}'" for extra, requirements in declared.items() for line in requirements]
    brought = {extra: {imported(line) for line in extras.of_extra(extra, lines)} for extra in declared}
    for extra, packages in extras.EXTRAS.items():
        assert set(packages) <= brought[extra], extra
    assert set().union(*brought.values()) == set().union(*extras.EXTRAS.values())


def imported(requirement: str) -> str:
    """The package that a requirement brings."""
    name = re.split(r"[^\w-]", requirement, maxsplit=1)[0]
    return {"faiss-cpu": "faiss"}.get(name, name.replace("-", "_"))


def test_only_packages_of_extras_are_explained():
    assert "comes with the extra curate" in str(extras.missing_package("faiss.contrib"))
    assert extras.missing_package("pipeline.plan") is None
    assert extras.missing_package("") is None


def test_a_checkout_with_its_own_environment_uses_its_script(installed, tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "scripts/install"):
        (tmp_path / name).touch()
    installed({"url": tmp_path.as_uri(), "dir_info": {"editable": True}}, tmp_path / ".venv")
    assert extras.install_command("curate") == f"{tmp_path}/scripts/install curate"


@pytest.mark.parametrize(("editable", "option"), [(True, ["-e"]), (False, [])])
def test_a_checkout_in_another_environment_is_installed_from_its_path(installed, tmp_path, editable, option):
    folder = tmp_path / "照片 hanclip"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "constraints.txt").touch()
    installed({"url": folder.as_uri(), "dir_info": {"editable": editable}})
    assert shlex.split(extras.install_command("jobs")) == [
        *("/env/bin/python", "-m", "pip", "install", "-c", f"{folder}/constraints.txt", *option, f"{folder}[jobs]")
    ]


def test_a_folder_on_the_path_that_pip_did_not_install_counts_as_a_checkout(installed, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    installed({}, checkout=tmp_path)
    assert shlex.split(extras.install_command("lmdb"))[-2:] == ["-e", f"{tmp_path}[lmdb]"]


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (
            {"url": "file:///dist/hanclip-0.1.0.whl", "archive_info": {}},
            "hanclip[curate] @ file:///dist/hanclip-0.1.0.whl",
        ),
        (
            {"url": "https://git.example/hanclip", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "hanclip[curate] @ git+https://git.example/hanclip@abc",
        ),
    ],
)
def test_a_wheel_and_a_repository_are_named_by_their_address(installed, origin, requirement):
    installed(origin)
    assert shlex.split(extras.install_command("curate"))[4:] == [requirement]


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_otherwise_the_packages_are_named_and_never_hanclip(installed, extra):
    installed({})
    words = shlex.split(extras.install_command(extra))[4:]
    assert words == extras.requirements(extra)
    assert words
    assert not any(word.startswith("hanclip") for word in words)


def test_the_origin_is_what_pip_recorded():
    recorded = metadata.distribution("hanclip").read_text("direct_url.json")
    assert extras._origin() == (json.loads(recorded) if recorded else {})
