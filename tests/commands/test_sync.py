"""Test `hanclip sync` with real databases: each ends at the latest state, and says what is wrong with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from actors.jobs.step import carry_out
from flows.cli import main
from flows.facts.sync import sync_facts
from pipeline.curation.sync.settings import SyncSettings
from pipeline.jobs.steps import SyncStep
from pipeline.phases import ignore
from tests.fixtures.commands import Run
from tests.fixtures.faults import WRITES
from tests.fixtures.histories import READERS, History, assert_holds, expected
from tests.fixtures.places import ROOT
from tests.fixtures.servers.postgres import Postgres

VECTORS = ["image_embedding", "text_embedding"]
#: Syncs, and kills itself when the first rows have arrived.
KILLED = """
import os, signal, sys
from pipeline.curation.sync.registry import connector
from pipeline.curation.sync.run import sync_target
from pipeline.curation.sync.settings import SyncSettings
settings = SyncSettings(to="qdrant", dest=sys.argv[2], batch_rows=3)
target = connector("qdrant")(settings.dest, settings.collection)
put = target.put
def put_and_die(rows, new):
    put(rows, new)
    os.kill(os.getpid(), signal.SIGKILL)
target.put = put_and_die
sync_target(sys.argv[1], settings, target)
"""


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Some nights of a dataset with odd ids and rows without text."""
    history = History(str(tmp_path / "out"), 11)
    for _ in range(5):
        history.night()
    return history


@pytest.fixture
def dest(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of the kind that is the parameter."""
    if request.param != "pgvector":
        return str(tmp_path / "database.db")
    server: Postgres = request.getfixturevalue("pgvector")
    return f"postgresql://postgres@127.0.0.1:{server.port}/postgres"


@pytest.mark.parametrize(("dest", "to"), [(to, to) for to in READERS], indirect=["dest"])
def test_each_database_follows_the_dataset(
    history: History, dest: str, to: str, hanclip: Run, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    def run(*options: object, code: int = 0) -> dict[str, Any]:
        return hanclip("sync", history.out, dest, "--to", to, "--vectors", "both", *options, code=code)

    def holds() -> None:
        assert_holds(dict(READERS[to](dest, VECTORS)), expected(history, VECTORS, kept_only=False))

    dry = run("--dry-run")
    assert (dry["dry_run"], dry["inserted"], dry["rows"]) == (True, len(expected(history, VECTORS, False)), 0)
    assert run()["inserted"] == dry["inserted"]
    holds()
    if to == "pgvector":  # a column of others stays, whatever it demands
        server: Postgres = request.getfixturevalue("pgvector")
        server.psql(tmp_path, "-c", "ALTER TABLE hanclip ADD COLUMN added int NOT NULL DEFAULT 1")
    for step in (history.night, history.vanish, history.late, history.drop_superseded, history.night):
        step()
    assert run("--verify", code=1)["stale"]
    assert run()["compared"] == "changes"
    holds()
    assert not WRITES & run()["requests"].keys()
    assert run("--verify")["agrees"]
    assert run("--verify", "--sample", 3)["compared"] == 3


def test_a_sync_that_is_killed_goes_on(history: History, tmp_path: Path, hanclip: Run) -> None:
    dest = str(tmp_path / "database")
    killed = subprocess.run([sys.executable, "-c", KILLED, history.out, dest], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert hanclip("sync", history.out, dest, "--to", "qdrant", "--verify", code=1)["complete"] is False
    done = hanclip("sync", history.out, dest, "--to", "qdrant")
    assert (done["resumed"], done["inserted"]) == (True, len(history.rows()) - 3)
    assert_holds(dict(READERS["qdrant"](dest, VECTORS[:1])), expected(history, VECTORS[:1], kept_only=False))
    assert not WRITES & hanclip("sync", history.out, dest, "--to", "qdrant")["requests"].keys()


@pytest.mark.parametrize(
    ("to", "dest"),
    [
        ("qdrant", "http://127.0.0.1:1"),
        ("pgvector", "postgresql://shop@127.0.0.1:1/catalog"),
        ("milvus", "http://127.0.0.1:1"),
    ],
)
def test_a_database_that_does_not_answer(
    history: History, to: str, dest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sync", history.out, dest, "--to", to])
    assert ended.value.code == 1
    assert f"The database at {dest} does not answer" in " ".join(capsys.readouterr().err.split())


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_wrong_credentials_are_not_repeated(
    history: History, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(SystemExit) as ended:
            main(["sync", history.out, f"http://127.0.0.1:{server.server_port}", "--to", "qdrant"])
    finally:
        server.shutdown()
        server.server_close()
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert "set QDRANT_API_KEY" in " ".join(said.err.split())
    assert "s3cret" not in said.out + said.err


def test_a_step_of_a_job_syncs(history: History, tmp_path: Path) -> None:
    settings = SyncSettings(to="lance", dest=str(tmp_path / "lance"))
    session: Any = None  # a sync needs no Ray
    outcome = carry_out(SyncStep(out=history.out, settings=settings), session, ignore)
    rows = len(history.rows())
    assert (outcome.state, outcome.message) == ("complete", f"{rows} inserted, 0 replaced, 0 deleted")
    assert ("holds", f"{rows} rows") in list(sync_facts(outcome.found or {}))


def test_the_report_for_people(history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sync", history.out, str(tmp_path / "lance"), "--to", "lance"]
    for more in ([], ["--verify"]):
        with pytest.raises(SystemExit):
            main([*argv, *more])
    said = capsys.readouterr().out
    assert f"{len(history.rows()):,} inserted, 0 replaced, 0 deleted" in said
    assert "the database agrees" in said
