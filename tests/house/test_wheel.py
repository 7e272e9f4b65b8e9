"""Test what a release consists of: a wheel and an sdist that an index accepts, and a wheel that runs away from here."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import __version__
from tests.fixtures.places import ROOT

pytestmark = pytest.mark.slow

#: Site-packages of this environment: the dependencies that `pip install` of the wheel would have installed.
LIBRARIES = [path for path in sys.path if path.endswith("site-packages")]
PACKAGES = ("pipeline", "actors", "flows")
INFO = f"hanclip-{__version__}.dist-info"


def build(source: Path, out: Path, *targets: str) -> list[Path]:
    """What `python -m build --no-isolation` runs, for these targets."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out)]
    subprocess.run([*command, *(f"-t{target}" for target in targets)], cwd=source, check=True, capture_output=True)
    return sorted(out.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"), "sdist", "wheel")


@pytest.fixture(scope="module")
def wheel(built: list[Path]) -> Path:
    return next(path for path in built if path.suffix == ".whl")


@pytest.fixture(scope="module")
def sdist(built: list[Path]) -> Path:
    return next(path for path in built if path.name == f"hanclip-{__version__}.tar.gz")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the wheel installed; a .pth file adds the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-compile", str(wheel)], check=True, capture_output=True)
    # addsitedir would follow the editable install's .pth back into the repository.
    (site / "borrowed.pth").write_text("\n".join(LIBRARIES) + "\n")
    return folder / "bin" / "python"


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_index_would_accept_both(built: list[Path]) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("PASSED") == 2


def test_the_wheel_contains_only_the_packages_the_demo_and_the_licences(wheel: Path) -> None:
    names = set(contents(wheel))
    assert {name.split("/")[0] for name in names} == {*PACKAGES, INFO}
    licences = {
        f"{INFO}/licenses/{name}" for name in ("LICENSE", "demo/LICENSES.md", "pipeline/model/vocabulary/LICENSE.md")
    }
    assert licences <= names
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
        listed = subprocess.run(["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True, check=True)
        sources = set(listed.stdout.splitlines())
        # Templates, styles, scripts, phrases, tables and the vocabulary as well as modules.
        assert {name for name in names if name.startswith(f"{package}/") and "/_demo/" not in name} == sources
    demo = {name.removeprefix("pipeline/_demo/") for name in names if name.startswith("pipeline/_demo/")}
    assert {"queries.txt", "imperfections.json", "LICENSES.md", "model/config.json", "model/metrics.json"} <= demo
    assert any(name.startswith("catalog/") and name.endswith(".tar") for name in demo)
    assert wheel.stat().st_size < 20e6


def test_the_sdist_makes_the_same_wheel_and_has_no_tests(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as tar:
        tar.extractall(tmp_path, filter="data")
    source = tmp_path / f"hanclip-{__version__}"
    assert {path.name for path in source.iterdir()}.isdisjoint({"tests", "benchmarks", ".ci", ".venv"})
    for name in (
        "CHANGELOG.md",
        "CITATION.cff",
        "SECURITY.md",
        "constraints.txt",
        "docs/serve.md",
        "examples/README.md",
    ):
        assert (source / name).exists(), name
    (again,) = build(source, tmp_path / "dist", "wheel")
    assert contents(again) == contents(wheel)


def test_the_command_runs_outside_the_repository_from_the_wheel(python: Path, tmp_path: Path) -> None:
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run: dict[str, Any] = {"cwd": tmp_path, "env": elsewhere, "capture_output": True, "text": True, "check": True}
    command = str(python.parent / "hanclip")
    assert subprocess.run([command, "--version"], **run).stdout == f"hanclip {__version__}\n"
    assert "embed" in subprocess.run([command, "--help"], **run).stdout
    script = (
        "import pipeline, actors, flows; from pipeline.model.files.find import demo_folder;"
        "print(*(p.__file__ for p in (pipeline, actors, flows)), demo_folder(), sep='\\n')"
    )
    places = subprocess.run([str(python), "-c", script], **run).stdout.split()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(python.parent.parent) for place in places)
    assert places[3].endswith(os.path.join("pipeline", "_demo", "model"))


def test_the_metadata_names_the_python_versions_that_are_tested(wheel: Path) -> None:
    metadata = email.message_from_bytes(contents(wheel)[f"{INFO}/METADATA"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


#: The types of other packages are not read, which is most of the time of a check.
MYPY = """[mypy]
strict = true
follow_imports = skip
[mypy-pipeline.*]
follow_imports = silent
[mypy-numpy.*]
follow_imports = skip
follow_imports_for_stubs = true
"""


def test_the_types_of_the_wheel_check_a_users_program(python: Path, tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(MYPY)
    (tmp_path / "program.py").write_text(
        "from pipeline.dataset import Dataset, latest\n\n"
        'dataset = Dataset.open("out/")\n'
        "print(dataset.identity.model.upper(), dataset.identity.dim.upper())\n"
        'print(latest("out/", ["id"], 5).read_all())\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--python-executable", str(python), "--cache-dir", os.devnull, "program.py"]
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    checked = subprocess.run(mypy, cwd=tmp_path, env=elsewhere, capture_output=True, text=True)
    errors = re.findall(r": error: (.*?)  \[", checked.stdout)
    assert errors == ['"int" has no attribute "upper"', 'Too many arguments for "latest"'], checked.stdout
