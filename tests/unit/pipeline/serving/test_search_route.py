"""`/v1/search` over a small dataset, with an encoder that needs no model: answers against NumPy, and errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from actors.serving.application import searching
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.search.index.build import build
from pipeline.curation.search.opened.conditions import HowToMatch
from pipeline.curation.search.opened.dataset import open_dataset
from pipeline.dataset.dataset import Dataset
from pipeline.errors import IdentityError
from pipeline.serving.loading import text_overflow
from pipeline.serving.settings import SearchSettings, ServedModel
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.duplicates import DIM as WIDE
from tests.fixtures.duplicates import EmbeddedCatalog, Picture, unit
from tests.fixtures.mutations import a_mutation, call
from tests.fixtures.serving import DIM, FakeEncoder, a_picture, an_app, asking, data_uri

SEEDS = [
    ("/v1/search", {"query": ["猫", {"id": "item-00001"}], "not": "狗", "top": 3, "with": ["uri"], "model": "fake"}),
    ("/v1/search", {"query": {"vector": [0.5] * DIM}, "column": "texts", "min_similarity": 0.1, "combine": True}),
    ("/knn-service", {"text": "猫", "num_images": 3, "modality": "text", "indice_name": "fake", "deduplicate": True}),
    ("/knn-service", {"embedding_input": [0.5] * DIM, "num_images": 1, "num_result_ids": 2, "aesthetic_score": 9}),
    ("/metadata", {"ids": [1, 2], "indice_name": "fake"}),
]
VENDOR = pa.schema([("vendor", pa.string())])
Ask = Callable[..., httpx.Response]


def opened(out: str, **settings: Any) -> Any:
    return searching(Dataset.open(out), SearchSettings(dataset=out, **settings))


def running(app: Any, work: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with asking(app) as client:
            return await work(client)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows of two shards, in an index but for the last ten."""
    dataset = Dataset.open_or_create(str(tmp_path_factory.mktemp("search") / "out"), an_identity(extra=VENDOR))
    commit(dataset, 1, some_records(50))
    build(dataset.uri, "flat", "image_embedding")
    commit(dataset, 2, some_records(10, first=50))
    return dataset.uri


@pytest.fixture(scope="module")
def ask(out: str) -> Iterator[Ask]:
    make = opened(out)

    def ask(body: Any = None, **parameters: Any) -> httpx.Response:
        async def work(client: httpx.AsyncClient) -> Any:
            if body is None:
                return await client.get("/v1/search", params=parameters)
            return await client.post("/v1/search", json=body)

        found: httpx.Response = running(an_app(more=(make,)), work)
        return found

    return ask


def stored(out: str, vector: str = "image_embedding") -> dict[str, np.ndarray]:
    table = Dataset.open(out).embeddings(["id", vector]).to_table()
    return dict(zip(table["id"].to_pylist(), np.array(table[vector].to_pylist(), np.float32), strict=True))


def nearest(out: str, query: np.ndarray, top: int, vector: str = "image_embedding", but: str = "") -> list[str]:
    cosines = {id_: round(float(row @ query), 6) for id_, row in stored(out, vector).items() if id_ != but}
    return sorted(cosines, key=lambda id_: (-cosines[id_], id_))[:top]


def ids(hits: list[dict[str, Any]]) -> list[str]:
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    return [hit["id"] for hit in hits]


def text_vector(text: str) -> np.ndarray:
    found: np.ndarray = FakeEncoder().begin_texts([text]).vectors()[0]
    return found


def test_each_kind_of_query_finds_the_nearest_rows(ask: Ask, out: str) -> None:
    vector = np.arange(1, DIM + 1, dtype=np.float32)
    queries = ["猫", {"image": data_uri(a_picture())}, {"id": "item-00007", "text": None}]
    queries.append({"vector": (7 * vector).tolist()})
    answer = ask({"query": queries, "top": 5}).json()
    picture = FakeEncoder().encode_images(np.full((1, 16, 16, 3), (200, 30, 30), np.uint8))[0]
    expected = [text_vector("猫"), picture, stored(out)["item-00007"], unit(vector[None])[0]]
    for hits, query, but in zip(answer["data"], expected, ("", "", "item-00007", ""), strict=True):
        assert ids(hits) == nearest(out, query, 5, but=but)
        assert hits[0]["similarity"] == pytest.approx(float(stored(out)[hits[0]["id"]] @ query), abs=1e-6)
        assert hits[0]["columns"] == {"text": f"红色连衣裙 {hits[0]['id']}"}
    assert (answer["rows"], answer["by_index"], answer["column"]) == (60, 50, "images")
    assert answer["notes"] == ["10 rows are not in the index yet: run `hanclip index OUT`"]
    assert answer["usage"]["images"] == 1


def test_the_route_is_described(out: str) -> None:
    tree = running(an_app(more=(opened(out),)), lambda client: client.get("/openapi.json")).json()
    routes = tree["paths"]["/v1/search"]
    fields = routes["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"query", "not", "with", "where", "top"} <= set(fields)
    assert (fields["top"]["maximum"], fields["top"]["default"]) == (1000, 10)
    assert {one["name"] for one in routes["get"]["parameters"]} <= {"q", *fields}
    assert {"FoundRows", "FoundRow"} <= set(tree["components"]["schemas"])


def test_a_browser_asks_with_parameters(ask: Ask, out: str) -> None:
    given = {"q": "猫", "column": "texts", "top": "3", "with": "uri, vendor", "where": "id < 'item-00030'"}
    answer = ask(**given).json()
    few = {id_: row for id_, row in stored(out, "text_embedding").items() if id_ < "item-00030"}
    assert ids(answer["data"]) == sorted(few, key=lambda id_: -float(few[id_] @ text_vector("猫")))[:3]
    first = answer["data"][0]
    number = int(first["id"][-5:])
    assert first["columns"] == {"uri": f"s3://shop/{number}.jpg", "vendor": f"vendor {first['id']}"}
    assert (answer["rows"], answer["by_index"], answer["notes"]) == (30, 0, [])


def test_queries_are_combined_and_subtracted_and_least_similarity_holds(ask: Ask, out: str) -> None:
    rows = stored(out)
    mean = (rows["item-00001"] + text_vector("猫")) / 2 - rows["item-00002"]
    body = {"query": [{"id": "item-00001"}, "猫"], "not": {"id": "item-00002"}, "combine": True, "top": 60}
    everything = ids(ask(body).json()["data"])
    found = [id_ for id_ in nearest(out, mean / np.linalg.norm(mean), 60) if id_ not in ("item-00001", "item-00002")]
    assert everything == found
    least = ask(body | {"min_similarity": 0.5}).json()["data"]
    assert 0 < len(least) < 58
    assert all(hit["similarity"] >= 0.5 for hit in least)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": ["猫", {"id": "nothing"}]}, (404, "id_not_found", "query[1]")),
        ({"query": "猫", "not": {"id": "nothing"}}, (404, "id_not_found", "not")),
        ({"query": "猫", "where": "price > 3"}, (400, "wrong_condition", "where")),
        ({"query": "猫", "where": "id = (SELECT 'x')"}, (400, "wrong_condition", "where")),
        ({"query": "猫", "where": "dedup_kept"}, (400, "wrong_condition", "where")),
        ({"query": "猫", "where": "0" + "+0" * 700 + " = 0"}, (400, "wrong_condition", "where")),
        ({"query": "猫", "where": "true" + " and true" * 3000}, (400, "too_large", "where")),
        ({"query": "猫", "where": " "}, (400, "wrong_condition", "where")),
        ({"query": "猫", "one_per_group": True}, (400, "no_duplicate_groups", "one_per_group")),
        ({"query": "猫", "with": ["price"]}, (400, "unknown_column", "with")),
        ({"query": "猫", "with": ["image_embedding"]}, (400, "unknown_column", "with")),
        ({"query": "猫", "column": "sounds"}, (400, "invalid_request", "column")),
        ({"query": "猫", "top": 1001}, (400, "invalid_request", "top")),
        ({"query": "猫", "top": True}, (400, "invalid_request", "top")),
        ({"query": "猫", "top": "5"}, (400, "invalid_request", "top")),
        ({"query": "猫", "top": 5.5}, (400, "invalid_request", "top")),
        ({"query": "猫", "one_per_group": 1}, (400, "invalid_request", "one_per_group")),
        ({"query": ["猫"] * 11, "top": 1000}, (400, "too_many_rows", "top")),
        ({"query": "猫", "model": "another"}, (404, "model_not_found", "model")),
        ({"query": {"vector": [1.0]}}, (400, "dimensions_not_supported", "query")),
        ({"query": {"vector": [0.0] * DIM}}, (400, "dimensions_not_supported", "query")),
        ({"query": [1.0] * DIM}, (400, "invalid_request", "query")),
        ({"query": []}, (400, "invalid_request", "query")),
        ({"query": ["猫"] * 65}, (400, "too_many_inputs", "query")),
        ({"query": {"id": "item-00001"}, "not": {"id": "item-00001"}}, (400, "invalid_request", "not")),
        ({"query": {"image": "file:///etc/passwd"}}, (400, "scheme_not_allowed", "query")),
    ],
)
def test_what_is_wrong_is_named_without_the_place_of_the_dataset(ask: Ask, out: str, body: Any, expected: Any) -> None:
    answer = ask(body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == expected
    assert error["message"].endswith(".")
    assert out not in answer.text


def test_a_get_and_a_post_are_not_mixed(out: str) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        body = {"query": "猫"}
        for method, path in (("GET", "search?q=a"), ("POST", "search?q=a"), ("GET", "row?id=a")):
            answer = await client.request(method, f"/v1/{path}", json=body)
            assert answer.json()["error"]["code"] == "invalid_request"
            assert f"{method} takes no" in answer.text
        for path in ("search?q=a&q=b", "row?id=a&id=b", "picture?id=a&source_fingerprint=b&id=c"):
            answer = await client.get(f"/v1/{path}")
            assert "is there more than once" in answer.json()["error"]["message"]
        combined = await client.post("/v1/search", json={"query": ["猫"] * 11, "top": 1000.0, "combine": True})
        assert combined.status_code == 200

    running(an_app(more=(opened(out),)), work)


def test_mutated_searches_never_break_the_server(out: str) -> None:
    dice, seen = random.Random(11), {200: 0, 400: 0, 404: 0}
    app = an_app(more=(opened(out, clip_back=True),))

    async def work(client: httpx.AsyncClient) -> None:
        for _ in range(200):
            path, body = a_mutation(SEEDS, dice)
            status, _, sent = await call(app, path, body)
            assert status in seen, (path, body, sent)
            seen[status] += 1

    running(app, work)
    assert min(seen.values()) > 0


def test_a_condition_that_takes_too_long_ends(out: str) -> None:
    slow = "levenshtein(repeat('abcde', 2500), repeat('bcdea', image_width // 8)) > 0"
    app = an_app(more=(opened(out, time_limit_s=0.05),))
    answer = running(app, lambda client: client.post("/v1/search", json={"query": "猫", "where": slow}))
    assert answer.json()["error"]["code"] == "wrong_condition"
    assert "simplify" in answer.json()["error"]["message"]


def test_one_row_of_each_group(tmp_path: Path) -> None:
    one, other = unit(np.random.default_rng(1).standard_normal((2, WIDE)))
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({f"sku-{n}": Picture(other if n == 4 else one) for n in range(5)})
    dedup(catalog.out, DedupSettings())
    app = an_app(FakeEncoder(dim=len(one)), more=(opened(catalog.out),))
    body = {"query": {"vector": one.tolist()}, "one_per_group": True}
    hits = running(app, lambda client: client.post("/v1/search", json=body)).json()["data"]
    assert [(hit["id"], hit["group_size"]) for hit in hits] == [("sku-0", 4), ("sku-4", 1)]


def test_the_dataset_is_opened_again_only_when_it_changed(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    commit(dataset, 1, some_records(5))
    before = open_dataset(dataset, HowToMatch(30))
    assert before.refreshed() is before
    commit(dataset, 2, some_records(5, first=5))
    after = before.refreshed()
    query = stored(dataset.uri)["item-00007"][None]
    search = "image_embedding"
    assert [opened.columns[search].all(query, 1, [frozenset()]).rows for opened in (before, after)] == [5, 10]
    build(dataset.uri, "flat", search)
    assert after.refreshed().columns[search].all(query, 1, [frozenset()]).by_index == 10


def test_a_running_server_sees_new_rows(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    commit(dataset, 1, some_records(5))
    often = SearchSettings(dataset=dataset.uri).model_copy(update={"refresh_s": 0.01})
    make = searching(dataset, often)

    async def work(client: httpx.AsyncClient) -> None:
        first = (await client.get("/v1/search", params={"q": "猫"})).json()
        commit(dataset, 2, some_records(5, first=5))
        async with asyncio.timeout(10):
            while (await client.get("/v1/search", params={"q": "猫"})).json()["rows"] == first["rows"]:
                await asyncio.sleep(0.01)

    running(an_app(more=(make,)), work)


def test_a_large_dataset_needs_an_index(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.curation.search.opened.dataset.MOST_ADDED", 20)
    app = an_app(more=(opened(out),))
    body = {"query": "猫", "column": "texts"}
    answer = running(app, lambda client: client.post("/v1/search", json=body)).json()
    assert answer["error"]["code"] == "not_indexed"


def test_long_texts_are_embedded_as_in_the_dataset(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(text_overflow="mean"))
    assert text_overflow(ServedModel(), dataset) == "mean"
    with pytest.raises(IdentityError, match="made with mean"):
        text_overflow(ServedModel(text_overflow="truncate"), dataset)
    with pytest.raises(ValueError, match="password"):
        SearchSettings(dataset="https://a:secret@host/out")
