"""URLs that clients of `hanclip serve` name: where they lead after redirects, and how many are in memory at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.serving.inputs import fetch
from pipeline.storage.backends.http import public_addresses as addresses
from tests.fixtures.servers.web import Site
from tests.fixtures.serving import a_picture, an_app, asking


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site at the only address that counts as public."""
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2")
    site = Site(host="127.0.0.2", files={f"/{number}.png": a_picture((number, 0, 0)) for number in range(6)})
    site.start()
    yield site
    site.stop()


async def embedded(client: Any, *urls: str) -> Any:
    body = {"input": [{"image": url} for url in urls], "on_error": "null"}
    return (await client.post("/v1/embeddings", json=body)).json()


def test_a_chain_of_redirects_ends_where_it_may_not_lead(site: Site, outside: Site) -> None:
    outside.locations = {
        "/good": "/to?/0.png",
        "/inside": f"/to?{site.url('/a.jpg')}",
        "/numeric": "http://2130706433/a.jpg",
        "/file": "file:///etc/passwd",
        "/gopher": "gopher://127.0.0.2/",
        "/loop": "/loop",
    }

    async def ask() -> Any:
        async with asking(an_app()) as client:
            return await embedded(client, *(outside.url(path) for path in outside.locations))

    data = asyncio.run(ask())["data"]
    assert [one.get("error", {}).get("code") for one in data] == [
        None,
        "address_refused",
        "address_refused",
        "bad_uri",
        "bad_uri",
        "bad_uri",
    ]
    assert site.requests == []


def test_images_that_wait_for_a_decoder_are_not_all_in_memory(outside: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_AT_ONCE", 2)
    app, go_on = an_app(), threading.Event()

    async def ask() -> Any:
        async with asking(app) as client:
            app.state.server.threads.decoding.submit(go_on.wait, 10)
            asked = asyncio.create_task(embedded(client, *(outside.url(path) for path in outside.files)))
            while len(outside.requests) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert len(outside.requests) == 2
            go_on.set()
            return await asked

    data = asyncio.run(ask())["data"]
    assert len({str(one["embedding"]) for one in data}) == 6
