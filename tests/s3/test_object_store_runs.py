"""Whole runs with source and output on a real S3 server that answers, throttles, hangs or is down.

The model is tiny: what is tested is reading, committing and resuming, not the vectors.
"""

from __future__ import annotations

import io
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipeline import storage
from pipeline.errors import NotFoundError
from tests.fixtures.checkpoints import write_checkpoint
from tests.fixtures.driving import Driver, Drivers, assert_adds_up, assert_agents_gone
from tests.fixtures.forks import ForkServer
from tests.fixtures.pictures import jpegs, write_folder, write_tar
from tests.fixtures.servers.s3 import KEY, SECRET, FaultyProxy, S3Server, answer

pytestmark = pytest.mark.slow

#: More than one page of a listing, which holds a thousand.
MANY = 1100
SOME = 1280
#: Longer than the first few attempts of a request; the store is down for twice that.
OUTAGE_S = 5.0
THROTTLED: list[str | int] = [503, "pass", "pass"]
MISSING = "s3://there-is-no-such-bucket"

Embed = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    assert_agents_gone()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("model")))


@pytest.fixture
def drivers(s3: S3Server, local_ray_address: str, tmp_path: Path) -> Iterator[Drivers]:
    """Runs on the Ray of the tests, whose workers reach the server directly."""
    with Drivers(tmp_path, s3.env, local_ray_address) as drivers:
        yield drivers


@pytest.fixture
def alone(s3: S3Server, fork_server: ForkServer, tmp_path: Path) -> Iterator[Drivers]:
    """Runs with a private Ray, whose workers may reach the server through a proxy."""
    with Drivers(tmp_path, {**s3.env, **fork_server.env}) as alone:
        yield alone


def upload(folder: str, count: int) -> str:
    """`00000.jpg`, ... under a URL."""
    pictures = list(enumerate(jpegs(count)))
    storage.in_threads(lambda one: storage.overwrite(f"{folder}/{one[0]:05d}.jpg", one[1]), pictures, 16)
    return folder


@pytest.fixture
def embed(model: str) -> Embed:
    """Makes the command line of a run; a shard has 256 rows."""

    def command(source: str, out: str, *options: str) -> tuple[str, ...]:
        return ("embed", source, out, "--model", model, "--shard-rows", "256", *options)

    return command


def rows_in_bucket(out: str) -> list[tuple[str, ...]]:
    """(id, image_uri, image_sha256) of every row, as a reader of `OUT/embeddings/**/*.parquet` finds them."""
    filesystem, path = storage.arrow_filesystem(f"{out}/embeddings")
    found = ds.dataset(path, filesystem=filesystem).to_table(columns=["id", "image_uri", "image_sha256"])
    return sorted(zip(*(column.to_pylist() for column in found.columns), strict=True))


def commits(out: str) -> int:
    """Shards that are committed."""
    try:
        return sum(info.uri.endswith(".parquet") for info in storage.list_objects(f"{out}/embeddings"))
    except NotFoundError:
        return 0


def test_every_object_of_a_listing_of_several_pages_becomes_a_row(drivers, s3, embed):
    bucket = s3.bucket()
    source, out = upload(f"{bucket}/in", MANY), f"{bucket}/out"
    summary = drivers.run(*embed(source, out))
    assert (summary["rows_in"], summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (MANY, MANY, {})
    rows = rows_in_bucket(out)
    assert [row[:2] for row in rows] == [(f"{i:05d}.jpg", f"{source}/{i:05d}.jpg") for i in range(MANY)]
    assert len({row[2] for row in rows}) == MANY
    assert drivers.run(*embed(source, out))["rows_planned"] == 0
    assert_adds_up(drivers, out, MANY)
    status = drivers.run("status", out)
    assert (status["rows"], status["quarantined"]) == (MANY, {})


def test_a_tar_in_a_bucket_is_read_in_place(drivers, s3, tmp_path, embed):
    bucket = s3.bucket()
    tar = write_tar(tmp_path / "a.tar", list(jpegs(300)))
    storage.overwrite(f"{bucket}/tars/a.tar", tar.read_bytes())
    out = f"{bucket}/out"
    summary = drivers.run(*embed(f"{bucket}/tars/*.tar", out))
    assert (summary["rows_in"], summary["stats"]["embedded"]) == (300, 300)
    assert rows_in_bucket(out)[7][:2] == ("00007", f"{bucket}/tars/a.tar#00007.jpg")
    assert_adds_up(drivers, out, 300)


def test_a_table_in_a_bucket_refers_to_objects_in_a_bucket(drivers, s3, embed):
    bucket = s3.bucket()
    source, out = upload(f"{bucket}/in", 300), f"{bucket}/out"
    uris = [f"{source}/{i:05d}.jpg" for i in range(300)] + [f"{source}/not-there.jpg"]
    columns = {"sku": [f"p{i}" for i in range(301)], "photo": uris, "title": [f"第{i}件商品" for i in range(301)]}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    storage.overwrite(f"{bucket}/items.parquet", sink.getvalue())
    names = ("--id-column", "sku", "--image-column", "photo", "--text-column", "title")
    summary = drivers.run(*embed(f"{bucket}/items.parquet", out, *names))
    assert (summary["rows_in"], summary["stats"]["embedded"]) == (301, 300)
    assert summary["stats"]["quarantined"] == {"not_found": 1}
    assert_adds_up(drivers, out, 301, quarantined=1)


@pytest.fixture
def refused(s3: S3Server, local_ray_address: str, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a command in this process, which must end with this code; returns what it says."""

    def run(code: int, command: str, *argv: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([command, "--address", local_ray_address, "--quiet", *argv])
        said = capfd.readouterr().err
        assert ended.value.code == code, said
        return said

    return run


@pytest.mark.parametrize("side", ["source", "output"])
def test_wrong_credentials_are_reported_but_never_shown(refused, s3, tmp_path, embed, monkeypatch, side):
    bucket = s3.bucket()
    photos = str(write_folder(tmp_path / "photos", 3))
    places = (f"{bucket}/in", str(tmp_path / "out")) if side == "source" else (photos, f"{bucket}/out")
    wrong = "wrong-secret-wrong-secret"
    with monkeypatch.context() as environment:
        environment.setenv("AWS_SECRET_ACCESS_KEY", wrong)
        stderr = refused(1 if side == "source" else 2, *embed(*places))
    assert f"Access to {bucket}/" in stderr
    assert "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in stderr
    assert not [hidden for hidden in (wrong, SECRET, KEY, "Traceback", "Signature=") if hidden in stderr]
    assert not storage.exists(f"{bucket}/out/_dataset.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["in", "in/*.jpg"])
def test_a_missing_source_bucket_is_named(refused, tmp_path, embed, source):
    stderr = refused(2, *embed(f"{MISSING}/{source}", str(tmp_path / "out")))
    assert stderr.startswith(f"error: The bucket {MISSING} does not exist. Check its name")


class NoBuckets(FaultyProxy):
    """A server without buckets, which answers like AWS. SeaweedFS would create the bucket at the first write."""

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.close_connection = False
        answer(request, 404, {}, b"<Error><Code>NoSuchBucket</Code></Error>")


def test_a_missing_output_bucket_is_named(refused, tmp_path, embed, monkeypatch):
    photos = str(write_folder(tmp_path / "photos", 3))
    server = NoBuckets(upstream="")
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    stderr = refused(2, *embed(photos, f"{MISSING}/out"))
    server.stop()
    assert stderr.startswith(f"error: The output folder {MISSING}/out cannot be written.")
    assert f"The bucket {MISSING} does not exist. Check its name" in stderr


def test_objects_deleted_after_planning_are_quarantined(drivers, s3, embed):
    bucket = s3.bucket()
    source, out = upload(f"{bucket}/in", 400), f"{bucket}/out"
    driver = drivers.start(*embed(source, out))
    driver.until(lambda: driver.reached("starting"))
    for number in (3, 77, 250):
        storage.delete(f"{source}/{number:05d}.jpg")
    summary = driver.finish()
    assert (summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (397, {"not_found": 3})
    assert_adds_up(drivers, out, 400, quarantined=3)
    assert len(rows_in_bucket(out)) == 397


def await_commit(driver: Driver, proxy: FaultyProxy) -> None:
    """Wait until the file of one more shard is put. Progress lines come too late for that."""
    seen, name = len(proxy.requests), re.compile(r"PUT .*/embeddings/.*\.parquet")
    driver.until(lambda: any(name.match(line) for line in proxy.requests[seen:]))


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3.endpoint)
    proxy.start()
    yield proxy
    proxy.stop()


def test_no_row_is_lost_when_the_store_throttles_hangs_and_is_down_for_ten_seconds(alone, drivers, s3, proxy, embed):
    """It refuses a third of all requests throughout, then all of them, then it hangs, then it is down."""
    bucket = s3.bucket()
    source, out = upload(f"{bucket}/in", SOME), f"{bucket}/out"
    command = embed(source, out)
    proxy.faults = deque(THROTTLED * 10_000)
    driver = alone.start(*command, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    await_commit(driver, proxy)
    proxy.faults = deque([503] * 100_000)
    time.sleep(OUTAGE_S)
    refused = 100_000 - len(proxy.faults)
    proxy.faults = deque(THROTTLED * 10_000)
    assert refused > 1
    await_commit(driver, proxy)
    os.kill(s3.process.pid, signal.SIGSTOP)
    try:
        time.sleep(OUTAGE_S)
    finally:
        os.kill(s3.process.pid, signal.SIGCONT)
    await_commit(driver, proxy)
    s3.stop()
    try:
        time.sleep(2 * OUTAGE_S)
        assert driver.process.poll() is None
    finally:
        s3.start()
    summary = driver.finish()
    assert (summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (SOME, {})
    assert drivers.run(*command)["rows_planned"] == 0
    assert_adds_up(drivers, out, SOME)


def test_a_run_that_loses_its_store_or_is_killed_leaves_whole_shards_and_the_next_run_continues(drivers, s3, embed):
    bucket = s3.bucket()
    source, out = upload(f"{bucket}/in", SOME), f"{bucket}/out"
    command = embed(source, out, "--retry-timeout-s", "2")
    # One image after the other, so that the run lasts for seconds after its first commit.
    driver = drivers.start(*command, "--read-concurrency", "1")
    driver.until(lambda: commits(out))
    s3.stop()
    try:
        summary = driver.finish(1)
    finally:
        s3.start()
    assert summary["state"] == "failed"
    assert "Run the same command again" in driver.stderr()
    assert "Traceback" not in driver.stderr()
    done = len(rows_in_bucket(out))
    assert done > 0
    before = commits(out)
    second = drivers.start(*command)
    second.until(lambda: commits(out) > before)
    second.end()
    assert len(rows_in_bucket(out)) > done
    done = len(rows_in_bucket(out))
    third = drivers.run(*command)
    assert (third["rows_already_done"], third["stats"]["embedded"]) == (done, SOME - done)
    assert len(rows_in_bucket(out)) == SOME
    assert_adds_up(drivers, out, SOME)
