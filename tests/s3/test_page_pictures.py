"""The pictures of the page of `hanclip serve`, read again from a bucket: whole objects, and members of tars."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from actors.serving.application import searching
from pipeline import storage
from pipeline.dataset.dataset import Dataset
from pipeline.serving.settings import SearchSettings
from tests.fixtures.embedded_sources import Source, embed, folder, tar
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
