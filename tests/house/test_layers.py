"""Test the architecture rules: layers, where heavy packages may be imported, file names."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.fixtures.places import ROOT

HEAVY = {"torch", "ray", "transformers", "pyarrow", "numpy", "fsspec", "obstore", "PIL", "duckdb", "aiohttp", "s3fs"}
#: Needed to parse a configuration, but not to list the commands.
MODELS = {"pydantic", "yaml"}


def test_imports_follow_the_layers_and_heavy_ones_have_one_home():
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("argv", "heavy"),
    [
        (["--help"], HEAVY | MODELS),
        (["--version"], HEAVY | MODELS),
        (["embed", "--help"], HEAVY),
        (["embed", "--print-config"], HEAVY),
    ],
)
def test_help_loads_nothing_heavy(argv, heavy):
    script = f"""
import sys
from flows.cli import main
try:
    main({argv!r})
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_scheduling_and_submitting_load_neither_a_model_nor_arrow():
    """A machine that only schedules has the extra `flows`, which does not bring torch and Ray; Arrow takes time."""
    script = """
import sys
import flows.commands.jobs
from flows.scheduled import backfill, compact, dedup, embed, filter, nightly, reap
print("loaded:", *sorted({"duckdb", "numpy", "pyarrow", "ray", "torch", "transformers"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_no_file_in_flows_shadows_a_top_level_module():
    """A loader that runs `flows/x.py` by path registers it in `sys.modules` as `x` and would shadow the real `x`."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) | {"pipeline", "actors", "flows"}
    names = {path.stem for path in (ROOT / "flows").iterdir() if not path.name.startswith("_")} - {"py"}
    assert "cli" in names
    assert names & taken == set()
