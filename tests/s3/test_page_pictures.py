"""The pictures of the page of `hanclip serve`, read again from a bucket: whole objects, and members of tars."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from actors.serving.application import searching
from pipeline import storage
from pipeline.curation.originals.read import FOR_PAGES
from pipeline.dataset.dataset import Dataset
from pipeline.serving.settings import SearchSettings
from tests.fixtures.embedded_sources import PICTURES, Source, embed, folder, tar
from tests.fixtures.servers.odd_bucket import OddBucket, serving
from tests.fixtures.servers.s3 import S3Server
from tests.fixtures.serving import an_app, asking


@pytest.mark.parametrize("kind", [folder, tar], ids=lambda kind: kind.__name__)
def test_pictures_come_from_a_bucket(kind: Callable[[Path], Source], s3: S3Server, tmp_path: Path) -> None:
    bucket, source = s3.bucket(), kind(tmp_path / "source")
    for path in filter(Path.is_file, source.uri.rglob("*")):
        storage.overwrite(f"{bucket}/source/{path.relative_to(source.uri)}", path.read_bytes())
    embed(replace(source, uri=f"{bucket}/source"), f"{bucket}/out")
    gone = sorted(source.images)[0]
    if kind is folder:
        storage.delete(f"{bucket}/source/{gone}")
    dataset = Dataset.open(f"{bucket}/out")
    app = an_app(more=(searching(dataset, SearchSettings(dataset=dataset.uri)),))

    async def work() -> None:
        async with asking(app) as client:
            rows = (await client.get("/v1/sample")).json()["data"]
            keys = [{"id": row["id"], "source_fingerprint": row["source_fingerprint"]} for row in rows]
            found = await asyncio.gather(*(client.get("/v1/picture", params=key) for key in keys))
        assert len(rows) == 24
        for row, answer in zip(rows, found, strict=True):
            if kind is folder and row["id"] == gone:
                assert answer.json()["error"]["code"] == "not_found"
            else:
                assert Image.open(io.BytesIO(answer.content)).format == "JPEG"

    asyncio.run(work())


def test_a_store_that_gives_no_answer_is_no_missing_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOR_PAGES, "retry_timeout_s", 0.0)  # type: ignore[misc]
    monkeypatch.setitem(FOR_PAGES, "read_timeout_s", 0.3)  # type: ignore[misc]
    objects = {f"in/{number}.jpg": picture for number, picture in enumerate(PICTURES[:2])}
    with serving(OddBucket(dict(objects)), monkeypatch) as bucket:
        embed(Source(f"{bucket.address}/in", {key[3:]: picture for key, picture in objects.items()}), tmp_path / "out")  # type: ignore[arg-type]
        dataset = Dataset.open(str(tmp_path / "out"))
        app = an_app(more=(searching(dataset, SearchSettings(dataset=dataset.uri)),))

        async def work() -> list[tuple[int, str, str | None]]:
            async with asking(app) as client:
                rows = (await client.get("/v1/sample")).json()["data"]
                key = {name: rows[0][name] for name in ("id", "source_fingerprint")}

                async def outcome() -> tuple[int, str, str | None]:
                    answer = await client.get("/v1/picture", params=key)
                    code = "" if answer.status_code == 200 else answer.json()["error"]["code"]
                    return answer.status_code, code, answer.headers.get("retry-after")

                found = []
                for fault in (503, 429, "drop", 403):
                    bucket.faults["GET"] = deque(itertools.repeat(fault, 9))
                    found.append(await outcome())
                bucket.faults.clear()
                bucket.latency_s = 1.0
                found.append(await outcome())
                bucket.latency_s = 0.0
                found.append(await outcome())
                bucket.objects.clear()
                return [*found, await outcome()]

        assert asyncio.run(work()) == [
            (503, "unavailable", "5"),
            (503, "unavailable", "5"),
            (503, "unavailable", "5"),
            (502, "forbidden", None),
            (503, "timeout", "5"),
            (200, "", None),
            (404, "not_found", None),
        ]
