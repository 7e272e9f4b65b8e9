"""Test the wheel installed outside the repository: the command runs from its own packages, with the demo data."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from pipeline import __version__
from tests.fixtures.places import ROOT

pytestmark = pytest.mark.slow

#: Site-packages of this environment: the dependencies that `pip install` of the wheel would have installed.
LIBRARIES = [path for path in sys.path if path.endswith("site-packages")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(ROOT)], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the wheel installed; a .pth file adds the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, capture_output=True)
    # addsitedir would follow the editable install's .pth back into the repository.
    (site / "borrowed.pth").write_text("\n".join(LIBRARIES) + "\n")
    return folder / "bin" / "python"


def test_the_wheel_contains_only_the_packages_the_demo_and_the_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"hanclip-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"pipeline", "actors", "flows", info}
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/demo/LICENSES.md"} <= set(names)
    for package in ("pipeline", "actors", "flows"):
        assert f"{package}/py.typed" in names
        sources = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert sources == {name for name in names if name.startswith(f"{package}/") and name.endswith(".py")}
    demo = [name.removeprefix("pipeline/_demo/") for name in names if name.startswith("pipeline/_demo/")]
    assert {"queries.txt", "imperfections.json", "LICENSES.md", "model/config.json", "model/metrics.json"} <= set(demo)
    assert any(name.startswith("catalog/") and name.endswith(".tar") for name in demo)
    assert wheel.stat().st_size < 20e6


def test_the_command_runs_outside_the_repository_from_the_wheel(python, tmp_path):
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = {"cwd": tmp_path, "env": elsewhere, "capture_output": True, "text": True, "check": True}
    shown = subprocess.run([str(python.parent / "hanclip"), "--help"], **run)
    assert "embed" in shown.stdout
    script = (
        "import pipeline, actors, flows; from pipeline.model.files.find import demo_folder;"
        "print(*(p.__file__ for p in (pipeline, actors, flows)), demo_folder(), sep='\\n')"
    )
    places = subprocess.run([str(python), "-c", script], **run).stdout.split()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(python.parent.parent) for place in places)
    assert places[3].endswith(os.path.join("pipeline", "_demo", "model"))
