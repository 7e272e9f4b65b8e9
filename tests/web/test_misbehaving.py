"""Test that every way in which web servers misbehave has its reason, and that no row of a list of URLs is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.decoder import Decoder
from pipeline.config import ImageConfig
from pipeline.dataset.schema import OwnColumns
from pipeline.records import Shard
from pipeline.storage.backends.http import public_addresses
from tests.fixtures.pictures import jpegs
from tests.fixtures.processes import patience
from tests.fixtures.servers.misbehaving import LIMIT_BYTES, OUTCOMES, MisbehavingSite
from tests.fixtures.sources import put, scan
from tests.fixtures.tables import as_csv


@pytest.fixture
def misbehaving() -> Iterator[MisbehavingSite]:
    site = MisbehavingSite(next(jpegs(1)))
    site.start()
    yield site
    site.stop()


def test_every_url_is_embedded_or_has_its_reason(
    misbehaving: MisbehavingSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_addresses, "is_public", lambda address: address.startswith("127."))
    rows = [{"id": id_, "url": url} for id_, url in misbehaving.urls(OUTCOMES, 2)]
    put(tmp_path, {"urls.csv": as_csv(rows)})
    options = {"read_timeout_s": 1.0, "retry_timeout_s": 2.0, "max_image_bytes": LIMIT_BYTES}
    spec, records = scan(tmp_path / "urls.csv", **options)
    decoder = Decoder(spec, ImageConfig(), 16, OwnColumns(True, False).decoded)
    decoder.setup()
    decoder._records = lambda shard: records  # type: ignore[assignment]
    started = time.monotonic()
    batch, _ = decoder.decode(Shard("s", len(records), 0, "", 0), 0, len(records))
    assert time.monotonic() - started < patience(8)
    found: dict[str, str | None] = dict.fromkeys(batch.rows["id"].to_pylist())
    found |= {row["id"]: row["reason"] for row in batch.quarantine.to_pylist()}
    assert batch.rows.num_rows + batch.quarantine.num_rows == len(records)
    assert found == {f"{kind}/{number}": reason for number in range(2) for kind, reason in OUTCOMES.items()}
