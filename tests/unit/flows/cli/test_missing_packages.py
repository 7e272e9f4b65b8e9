"""Every command in an environment without its extra: it works, or one line names the extra and how to install it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from flows.cli.app import app
from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.extras import EXTRAS, install_command
from tests.fixtures.chinese_clip import IMAGES, TEXTS, write_lmdb
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.hidden import run_without
from tests.fixtures.runs import config

EVERY = [package for packages in EXTRAS.values() for package in packages]
NO_SERVER = ("--jobs-address", "http://127.0.0.1:1")
RUN = ("--model", "demo")
DAYS = ("--start", "2026-11-01", "--end", "2026-11-02")

#: Commands where none of the extras is installed, and the extra that they name; None for those that work.
BASE: dict[tuple[str, ...], str | None] = {
    ("embed", "photos", "new", *RUN): "embed",
    ("embed", "photos", "new", *RUN, "--dry-run"): "embed",
    ("embed", "photos", "new", "--print-config"): None,
    ("retry", "out", *RUN): "embed",
    ("demo", "new"): "embed",
    ("status", "out"): None,
    ("verify", "out"): None,
    ("compact", "out", "snapshot", "--dry-run"): None,
    ("search", "out", "红裙"): "embed",
    ("search", "out", "--id", "item-00001"): None,
    ("find", "out", "labels.txt"): "embed",
    ("index", "out"): "curate",
    ("similarity", "out", "--text", "红裙"): "embed",
    ("evaluate", "out"): None,
    ("classify", "out", "--labels", "labels.txt"): "embed",
    ("dedup", "out", "--rung", "bytes"): None,
    ("report", "out"): "curate",
    ("filter", "out", "--where", "true"): None,
    ("export", "out", "vectors", "--to", "npy"): None,
    ("sync", "out", "vectors", "--to", "lance"): "sync-lance",
    ("submit", "photos", "new", *NO_SERVER): "jobs",
    ("backfill", "dt={date}", "new", *RUN, *DAYS, "--dry-run"): None,
    ("backfill", "dt={date}", "new", *RUN, *DAYS, *NO_SERVER): "jobs",
    ("partitions", "out"): None,
    ("jobs", "list", *NO_SERVER): "jobs",
    ("jobs", "logs", "a-job", *NO_SERVER): "jobs",
    ("jobs", "stop", "a-job", "--backend", "kuberay"): "jobs",
    ("dev", "up", "--folder", "stack"): "embed",
    ("dev", "nightly", "photos", "new", *RUN, "--folder", "stack"): "flows",
    ("dev", "status", "--folder", "stack"): "flows",
    ("dev", "down", "--folder", "stack"): "flows",
    ("serve", "--model", "demo", "--port", "0"): "serve",
    ("keys", "add", "keys", "shop"): None,
    ("keys", "list", "keys"): None,
    ("keys", "remove", "keys", "shop"): None,
    ("model", "list"): None,
    ("model", "show", "rn50"): None,
    ("model", "convert", "rn50", "converted"): "embed",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minimal")
    commit(Dataset.open_or_create(str(folder / "out"), an_identity()), 1, some_records(40))
    storage.overwrite(
        storage.join(layout.run_uri(str(folder / "out"), "run-1"), layout.CONFIG),
        config(folder).model_dump_json().encode(),
    )
    (folder / "photos").mkdir()
    (folder / "labels.txt").write_text("猫\n狗\n")
    write_lmdb(folder / "lmdb" / "valid", IMAGES, TEXTS)
    return folder


def test_the_table_has_every_command():
    commands = typer.main.get_command(app).commands
    groups = {name for name, command in commands.items() if hasattr(command, "commands")}
    assert {argv[0] for argv in BASE} == set(commands)
    for group in groups:
        assert {argv[1] for argv in BASE if argv[0] == group} == set(commands[group].commands), group


def test_without_any_extra_each_command_works_or_names_the_one_that_it_needs(place):
    for argv, (code, err) in zip(BASE, run_without(EVERY, list(BASE), place), strict=True):
        extra = BASE[argv]
        if extra is None:
            # The audit finds that these rows were never planned.
            assert code in ((1,) if argv[0] == "verify" else (0, None)), (argv, err)
        else:
            assert code == 2, (argv, code, err)
            assert f"comes with the extra {extra}: {install_command(extra)}" in err, argv
            assert len(err.split("error: ")[1].splitlines()) == 1, err
            assert "Traceback" not in err


def test_one_extra_alone_is_named_too(place):
    only = [argv for argv, extra in BASE.items() if extra == "flows"]
    for argv, (code, err) in zip(only, run_without(EXTRAS["flows"], only, place), strict=True):
        assert (code, "the extra flows" in err) == (2, True), (argv, err)
    [(code, err)] = run_without(["lmdb"], [("embed", "lmdb/valid", "new", *RUN, "--dry-run")], place)
    assert (code, "the extra lmdb" in err) == (2, True), err
