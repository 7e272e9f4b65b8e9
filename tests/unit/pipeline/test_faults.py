"""Exceptions that the machine caused: a full, read-only or forbidden folder is named with its cure, a bug is not."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError
from pipeline.extras import MissingPackageError
from pipeline.faults import explained, translated
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.hidden import SCRIPT
from tests.fixtures.places import ROOT
from tests.fixtures.small_disk import on_small_disk

TEMPORARY = tempfile.gettempdir()


def an_error(number: int, filename: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), filename)


@pytest.mark.parametrize(
    ("error", "folder", "words"),
    [
        (an_error(errno.ENOSPC, "/data/x"), "", ("No space left on device: /data/x.", "Free some space there.")),
        (an_error(errno.ENOSPC), "/data", ("No space left on device: /data.", "Free some space there.")),
        (an_error(errno.ENOSPC), f"{TEMPORARY}/hanclip-x", (f"{TEMPORARY}/hanclip-x", "or set TMPDIR to another")),
        (an_error(errno.ENOSPC), "", (TEMPORARY, "/dev/shm", "or set TMPDIR to another")),
        (an_error(errno.EROFS, "/home/a"), "", ("Read-only file system: /home/a", "mount it writable")),
        (an_error(errno.EACCES, "/root/x"), "", ("Permission denied: /root/x", "Give this user access to it")),
        (an_error(errno.ENOTDIR, "/etc/passwd/x"), "", ("Not a directory: /etc/passwd/x", "name another folder")),
        (an_error(errno.EMFILE, "/a"), "", ("Too many open files. Raise the limit", "ulimit -n")),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/t']"), "", ("['/t']", "TMPDIR")),
    ],
)
def test_a_fault_of_the_machine_names_the_folder_and_the_cure(error, folder, words):
    found = explained(error, folder)
    assert isinstance(found, RunError)
    assert found.exit_code == 1
    for word in words:
        assert word in str(found), found


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "x", "/a"),
        KeyError("x"),
        ModuleNotFoundError(name="pipeline.x"),
        OSError("x"),
        RuntimeError("x"),
    ],
)
def test_a_bug_passes_unchanged(error):
    assert explained(error) is None
    with pytest.raises(type(error)) as raised, translated():
        raise error
    assert raised.value is error


def test_a_user_without_a_home_folder_is_a_fault_of_the_machine():
    with pytest.raises(RunError, match="set HOME to a folder"), translated():
        Path("~no-such-user/x").expanduser()


def test_a_missing_package_is_a_fault_of_the_machine():
    with pytest.raises(MissingPackageError), translated():
        raise ModuleNotFoundError(name="faiss")


def test_commands_name_a_temporary_folder_that_is_full(tmp_path):
    commit(Dataset.open_or_create(str(tmp_path / "out"), an_identity()), 1, some_records(4000))
    (tmp_path / "many").mkdir()
    for number in range(4000):
        (tmp_path / "many" / f"{number * 7919:x}{number:x}.txt").touch()
    commands = [
        ["embed", "many", "new", "--model", "demo", "--dry-run"],
        ["dedup", "out", "--rung", "bytes"],
        ["export", "out", "rows", "--to", "npy"],
    ]
    done = subprocess.run(
        [*on_small_disk(tmp_path / "tmp"), sys.executable, "-c", SCRIPT, json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        check=True,
    )
    for argv, (code, err) in zip(commands, map(json.loads, done.stdout.splitlines()), strict=True):
        assert code == 1, (argv, code, err)
        assert "No space left on device" in err, (argv, err)
        assert f"{tmp_path}/tmp" in err, (argv, err)
        assert "TMPDIR" in err, (argv, err)
        assert "Traceback" not in err
