"""clip-retrieval's routes over a small dataset: the requests of its clients, and its answers.

The bodies are those that `clip_retrieval/clip_client.py` and `front/src/clip-service.js` of rom1504/clip-retrieval send
(commit b055335, release 2.45.0), field by field.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from actors.serving.application import searching
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.search.index.build import build
from pipeline.dataset.dataset import Dataset
from pipeline.serving.search.numbers import NumberedIds
from pipeline.serving.settings import SearchSettings
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.duplicates import DIM as WIDE
from tests.fixtures.duplicates import EmbeddedCatalog, Picture, unit
from tests.fixtures.serving import DIM, FakeEncoder, a_picture, an_app, asking, base64_of

Post = Callable[..., httpx.Response]

#: What `ClipClient(url, indice_name).query(...)` sends with its defaults.
CLIENT = {
    "text": None,
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "indice_name": "fake",
    "use_mclip": False,
    "aesthetic_score": 9,
    "aesthetic_weight": 0.5,
    "modality": "image",
    "num_images": 40,
    "num_result_ids": 40,
}
#: Addresses of the last two rows.
URLS = ("https://img.example/58.jpg", "https://img.example/a.tar#59.jpg")
#: What its front end sends.
PAGE = CLIENT | {"num_result_ids": 3000, "aesthetic_score": "", "aesthetic_weight": "0.5"}


def posting(out: str, encoder: FakeEncoder | None = None) -> Post:
    """One POST, in this process, as `requests.post(url, data=json.dumps(body))` sends it: without a Content-Type."""
    make = opened(out)

    def post(path: str, body: Any) -> httpx.Response:
        async def run() -> httpx.Response:
            async with asking(an_app(encoder, more=(make,))) as client:
                return await client.post(path, content=json.dumps(body))

        return asyncio.run(run())

    return post


def opened(out: str, clip_back: bool = True) -> Any:
    return searching(Dataset.open(out), SearchSettings(dataset=out, clip_back=clip_back))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty rows, the first fifty of them in an index."""
    dataset = Dataset.open_or_create(str(tmp_path_factory.mktemp("clip") / "out"), an_identity())
    commit(dataset, 1, some_records(50))
    build(dataset.uri, "flat", "image_embedding")
    last = [replace(record, image_uri=uri) for record, uri in zip(some_records(2, first=58), URLS, strict=True)]
    commit(dataset, 2, [*some_records(8, first=50), *last])
    return dataset.uri


@pytest.fixture(scope="module")
def post(out: str) -> Iterator[Post]:
    return posting(out)


def number(id_: str) -> int:
    return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:6], "big")


def nearest(out: str, query: np.ndarray, vector: str = "image_embedding") -> list[tuple[str, float]]:
    table = Dataset.open(out).embeddings(["id", vector]).to_table()
    cosines = np.array(table[vector].to_pylist(), np.float32) @ query
    found = zip(table["id"].to_pylist(), (round(float(cosine), 6) for cosine in cosines), strict=True)
    return sorted(found, key=lambda row: (-row[1], row[0]))


def test_each_kind_of_query_finds_the_nearest_rows(post: Post, out: str) -> None:
    encoder, vector = FakeEncoder(), np.arange(1, DIM + 1, dtype=np.float32)
    text = encoder.begin_texts(["猫"]).vectors()[0]
    picture = encoder.encode_images(np.full((1, 16, 16, 3), (200, 30, 30), np.uint8))[0]
    for given, query, column in (
        ({"text": "猫", "image": base64_of(a_picture())}, text, "image_embedding"),
        ({"text": "猫", "modality": "text"}, text, "text_embedding"),
        (
            {"text": "", "image": base64_of(a_picture()), "image_url": "https://img.example/1"},
            picture,
            "image_embedding",
        ),
        ({"embedding_input": vector.tolist()}, unit(vector[None])[0], "image_embedding"),
    ):
        rows = post("/knn-service", CLIENT | given).json()
        expected = nearest(out, query, column)[:40]
        assert [(row["id"], row["similarity"]) for row in rows] == [
            (number(id_), pytest.approx(cosine, abs=2e-6)) for id_, cosine in expected
        ]
        first = expected[0][0]
        assert first < "item-00058"
        assert rows[0] == {
            "id": number(first),
            "similarity": rows[0]["similarity"],
            "caption": f"红色连衣裙 {first}",
            "image_path": f"s3://shop/{int(first[-5:])}.jpg",
            "hanclip_id": first,
        }


def test_the_front_end_gets_its_rows_in_two_steps(post: Post, out: str) -> None:
    rows = post("/knn-service", PAGE | {"text": "猫"}).json()
    assert len(rows) == 60
    assert all("caption" in row for row in rows[:40])
    assert all(set(row) == {"id", "similarity"} for row in rows[40:])
    ids = [row["id"] for row in rows[38:]]
    found = post("/metadata", {"ids": [*ids, 5], "indice_name": "fake"}).json()
    assert [one["id"] for one in found] == ids
    assert [one["metadata"] for one in found[:2]] == [
        {name: value for name, value in row.items() if name not in ("id", "similarity")} for row in rows[38:40]
    ]
    assert post("/metadata", {"ids": [], "indice_name": "fake"}).json() == []


def test_an_address_that_a_browser_shows_is_a_url(post: Post) -> None:
    found = post("/metadata", {"ids": [number(f"item-000{n}") for n in (58, 59)]}).json()
    assert [one["metadata"].get("url") for one in found] == [URLS[0], None]
    assert [one["metadata"].get("image_path") for one in found] == [None, URLS[1]]


def test_a_number_follows_from_the_id_alone(out: str) -> None:
    numbered, ids = NumberedIds(Dataset.open(out)), ["item-00003", "item-00057"]
    assert numbered.ids([number(id_) for id_ in ids]) == {number(id_): id_ for id_ in ids}
    assert numbered.numbers([*ids, "gone"]) == [number(id_) for id_ in (*ids, "gone")]
    assert numbered.ids([number("gone"), 5]) == {number("gone"): "gone"}  # from memory
    assert max(numbered.numbers(map(str, range(1000)))) < 10**15  # what its front end reads as a plain number


def test_duplicates_are_left_out_where_they_are_known(tmp_path: Path) -> None:
    one, other = unit(np.random.default_rng(1).standard_normal((2, WIDE)))
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({f"sku-{n}": Picture(other if n == 4 else one) for n in range(5)})
    body, wide = CLIENT | {"embedding_input": one.tolist()}, FakeEncoder(dim=WIDE)
    everything = posting(catalog.out, wide)("/knn-service", body).json()
    dedup(catalog.out, DedupSettings())
    post = posting(catalog.out, wide)
    firsts, all_of_them = post("/knn-service", body).json(), post("/knn-service", body | {"deduplicate": False}).json()
    assert [row["hanclip_id"] for row in firsts] == ["sku-0", "sku-4"]
    assert all_of_them == everything
    assert len(everything) == 5


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/knn-service", {"text": "猫", "indice_name": "laion5B"}, (404, "not_found", "indice_name")),
        ("/knn-service", {"text": None}, (400, "invalid_request", "text")),
        ("/knn-service", {"text": "猫", "modality": "sound"}, (400, "invalid_request", "modality")),
        ("/knn-service", {"text": "猫", "num_images": 0}, (400, "invalid_request", "num_images")),
        ("/knn-service", {"text": "猫", "where": "1"}, (400, "invalid_request", "where")),
        ("/knn-service", {"image": "!!"}, (400, "bad_base64", "image")),
        ("/knn-service", {"image": base64_of(a_picture()[:60])}, (400, "truncated", "image")),
        ("/knn-service", {"image_url": "http://127.0.0.1/a.jpg"}, (400, "address_refused", "image_url")),
        ("/knn-service", {"embedding_input": [1.0]}, (400, "dimensions_not_supported", "embedding_input")),
        ("/metadata", {"ids": ["a"]}, (400, "invalid_request", "ids[0]")),
        ("/metadata", {"ids": [1], "indice_name": "laion5B"}, (404, "not_found", "indice_name")),
        ("/metadata", {"ids": list(range(1001))}, (400, "too_many_inputs", "ids")),
    ],
)
def test_wrong_requests_are_named(post: Post, path: str, body: Any, expected: Any) -> None:
    answer = post(path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == expected


def test_the_routes_are_there_on_request(out: str) -> None:
    async def names(app: Any) -> Any:
        async with asking(app) as client:
            return (await client.get("/indices-list")).json()

    assert asyncio.run(names(an_app(more=(opened(out),)))) == ["fake"]
    assert asyncio.run(names(an_app(more=(opened(out, clip_back=False),))))["error"]["code"] == "not_found"
    with pytest.raises(ValidationError, match="--dataset"):
        SearchSettings(clip_back=True)
