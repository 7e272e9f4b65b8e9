"""The application with an encoder that needs no model: shapes, limits, errors."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import random
import threading
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.errors import DeviceLostError
from pipeline.serving import decoding
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import ApiKey, Keyring, digest
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.embedding import ThreadPools
from pipeline.serving.settings import ImageUrls
from tests.fixtures.mutations import a_mutation, call
from tests.fixtures.serving import FakeEncoder, a_picture, an_app, asking, base64_of, data_uri

RED, BLUE = data_uri(a_picture()), data_uri(a_picture((20, 20, 200)))


def ask(path: str, body: Any, app: Any = None, **headers: str) -> httpx.Response:
    """One POST, in this process."""

    async def run() -> httpx.Response:
        async with asking(app or an_app(), **headers) as client:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return await client.post(path, content=content)

    return asyncio.run(run())


def running(app: Any, work: Callable[[httpx.AsyncClient], Awaitable[None]], **headers: str) -> None:
    async def run() -> None:
        async with asking(app, **headers) as client:
            await work(client)

    asyncio.run(run())


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert error["message"].endswith("."), error
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"], error["param"]


def test_embeddings_keep_the_order_of_mixed_items_in_both_formats() -> None:
    items = ["猫", {"image": RED}, {"type": "image_url", "image_url": {"url": BLUE}}, {"text": "猫"}]
    data = ask("/v1/embeddings", {"input": items}).json()["data"]
    coded = ask("/v1/embeddings", {"input": items, "encoding_format": "base64"}).json()["data"]
    assert [one["index"] for one in data] == [0, 1, 2, 3]
    for plain, packed in zip(data, coded, strict=True):
        vector = np.frombuffer(base64.b64decode(packed["embedding"]), "<f4")
        assert np.array_equal(np.float32(plain["embedding"]), vector)
        assert abs(np.linalg.norm(vector) - 1) < 1e-6
    assert data[0]["embedding"] == data[3]["embedding"]
    assert len({str(one["embedding"]) for one in data}) == 3


def test_a_chat_message_with_one_part_is_one_item() -> None:
    part = {"type": "image_url", "image_url": {"url": RED}}
    chat = {"messages": [{"role": "user", "content": [part]}]}
    same = ask("/v1/embeddings", {"input": part}).json()
    assert ask("/v1/embeddings", chat).json() == same
    assert same["usage"] == {"prompt_tokens": 0, "total_tokens": 0, "images": 1, "texts_cut": 0}
    two = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "猫"}]}]}
    assert refusal(ask("/v1/embeddings", two)) == (400, "invalid_request", "messages")


def test_a_damaged_item_fails_the_request_or_alone_if_asked() -> None:
    items = ["猫", {"image": base64_of(a_picture()[:60])}, {"image": "!!"}, "nan"]
    assert refusal(ask("/v1/embeddings", {"input": items[:2]})) == (400, "truncated", "input[1]")
    data = ask("/v1/embeddings", {"input": items, "on_error": "null"}).json()["data"]
    assert [one.get("error", {}).get("code") for one in data] == [None, "truncated", "bad_base64", "not_finite"]
    assert [one["embedding"] is None for one in data] == [False, True, True, True]


def test_similarity_gives_cosines_logits_and_probabilities() -> None:
    answer = ask("/v1/similarity", {"model": "fake", "images": [RED, BLUE], "texts": ["猫", "狗"]}).json()
    vectors = ask("/v1/embeddings", {"input": [{"image": RED}, {"image": BLUE}, "猫", "狗"]}).json()["data"]
    unit = np.array([one["embedding"] for one in vectors], np.float32)
    assert np.allclose([one["cosine"] for one in answer["data"]], unit[:2] @ unit[2:].T, atol=1e-6)
    assert answer["logit_scale"] == 24.5
    assert all(abs(sum(one["probability"]) - 1) < 1e-9 for one in answer["data"])
    assert ask("/v1/similarity", {"images": RED, "texts": "猫"}).json()["data"][0]["probability"] is None


def test_classify_is_the_same_through_both_routes_and_remembers_prompts() -> None:
    encoder, body = FakeEncoder(), {"images": RED, "labels": ["猫", ["狗", "犬"], "鸟"], "templates": ["一张{}。"]}
    app = an_app(encoder)

    async def work(client: httpx.AsyncClient) -> None:
        first = (await client.post("/v1/classify", json=body)).json()
        again = (await client.post("/v1/classify", json=body)).json()
        assert first == again
        assert sum(map(len, encoder.passes)) == 4
        for _ in range(2):  # what is very long is not kept: it would take more memory than its vector
            await client.post("/v1/classify", json=body | {"templates": "{}" + "长" * 1024})
        assert sum(map(len, encoder.passes)) == 4 + 2 * 4
        labels = first["data"][0]["labels"]
        assert sorted(one["label"] for one in labels) == sorted(["猫", "狗", "鸟"])
        assert abs(sum(one["probability"] for one in labels) - 1) < 1e-6
        plain = {"candidate_labels": ["猫", "狗"], "hypothesis_template": "一张{}。"}
        theirs = await client.post("/zero-shot-image-classification", json={"inputs": RED[22:], "parameters": plain})
        ours = await client.post("/v1/classify", json=body | {"labels": ["猫", "狗"]})
        assert theirs.json() == [
            {"label": one["label"], "score": one["probability"]} for one in ours.json()["data"][0]["labels"]
        ]

    running(app, work)


def test_score_and_rerank_agree_with_the_vectors() -> None:
    pairs = ask("/v1/score", {"text_1": "猫", "text_2": ["狗", "猫", {"image": RED}]}).json()
    scores = [one["score"] for one in pairs["data"]]
    assert abs(scores[1] - 1) < 1e-6
    query = {"query": "猫", "documents": ["狗", "猫", {"image": RED}], "top_n": 2, "return_documents": True}
    ranked = ask("/v1/rerank", query).json()["results"]
    assert [one["index"] for one in ranked] == np.argsort([-score for score in scores])[:2].tolist()
    assert ranked[0] == {"index": 1, "relevance_score": scores[1], "document": {"text": "猫"}}
    parts = {"content": [{"type": "text", "text": "猫"}]}
    assert ask("/score", {"queries": parts, "documents": "猫"}).json()["data"][0]["score"] == scores[1]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/embeddings", b"{", (400, "not_json", None)),
        ("/v1/embeddings", b'{"input": NaN}', (400, "not_json", None)),
        ("/v1/embeddings", b"[" * 100_000, (400, "not_json", None)),
        ("/v1/embeddings", b'{"input": ' + b"9" * 10_000 + b"}", (400, "not_json", None)),
        ("/v1/embeddings", b"\xff\xfe", (400, "not_json", None)),
        ("/v1/embeddings", b"", (400, "not_json", None)),
        ("/v1/embeddings", b'{"input": "a", "input": "b"}', (400, "invalid_request", "input")),
        ("/v1/embeddings", dict.fromkeys(map(str, range(300))), (400, "invalid_request", None)),
        ("/v1/embeddings", [], (400, "invalid_request", None)),
        ("/v1/embeddings", {}, (400, "invalid_request", "input")),
        ("/v1/embeddings", {"input": [3, 4]}, (400, "token_ids_not_supported", "input")),
        ("/v1/embeddings", {"input": "a", "dimensions": 4}, (400, "dimensions_not_supported", "dimensions")),
        ("/v1/embeddings", {"input": "a", "normalized": False}, (400, "invalid_request", "normalized")),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, (400, "invalid_request", "encoding_format")),
        ("/v1/embeddings", {"input": "a", "inputs": 1}, (400, "invalid_request", "inputs")),
        ("/v1/embeddings", {"input": "a", "messages": []}, (400, "invalid_request", "messages")),
        ("/v1/embeddings", {"input": "a", "model": "gpt"}, (404, "model_not_found", "model")),
        ("/v1/similarity", {"texts": ["a"]}, (400, "invalid_request", "images")),
        ("/v1/similarity", {"images": [RED], "texts": []}, (400, "invalid_request", "texts")),
        ("/v1/classify", {"images": RED, "labels": ["a"]}, (400, "invalid_request", "labels")),
        ("/v1/classify", {"images": RED, "labels": ["a", " "]}, (400, "empty_text", "labels[1][0]")),
        (
            "/v1/classify",
            {"images": RED, "labels": ["a", "b"], "templates": "no"},
            (400, "invalid_request", "templates"),
        ),
        ("/v1/classify", {"images": RED, "labels": list(map(str, range(200)))}, (400, "too_many_inputs", "labels")),
        ("/v1/classify", {"images": RED, "labels": ["a"] * 3000}, (400, "too_many_inputs", "labels")),
        ("/v1/classify", {"images": RED, "labels": [1] * 100_000}, (400, "invalid_request", "labels[0]")),
        ("/v1/classify", {"images": RED, "labels": ["a", "b" * 513]}, (400, "too_large", "labels[1][0]")),
        (
            "/v1/classify",
            {"images": RED, "labels": ["a", "b" * 500], "templates": "{}" * 1000},
            (400, "too_large", "labels"),
        ),
        (
            "/v1/classify",
            {"images": RED, "labels": list(map(str, range(600))), "templates": "{}" + "a" * 60_000},
            (400, "too_large", "labels"),
        ),
        (
            "/v1/classify",
            {"images": RED, "labels": ["a", "b"], "templates": "\ud800{}"},
            (400, "bad_text", "templates"),
        ),
        ("/v1/score", {"text_1": "a"}, (400, "invalid_request", "documents")),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a"] * 3}, (400, "invalid_request", "queries")),
        ("/v1/rerank", {"query": ["a", "b"], "documents": ["a"]}, (400, "invalid_request", "query")),
        ("/v1/nothing", {}, (404, "not_found", None)),
        ("/v1/models", {}, (405, "method_not_allowed", None)),
    ],
)
def test_wrong_requests_get_one_shape_of_error(path: str, body: Any, expected: tuple[int, str, str | None]) -> None:
    assert refusal(ask(path, body)) == expected


def test_another_name_of_the_model_is_answered_as_well() -> None:
    assert ask("/v1/embeddings", {"input": "a", "model": "short"}).json()["model"] == "fake"


def test_long_names_are_shortened_and_the_cure_stays() -> None:
    for body in ({"input": "a", "k" * 10_000: 1}, {"input": "a", "model": "k" * 10_000}):
        answer = ask("/v1/embeddings", body)
        refusal(answer)
        assert len(answer.content) < 2500


def test_other_methods_slashes_and_encodings_are_answered() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        head = await client.head("/healthz")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "15")
        other = await client.options("/v1/embeddings")
        assert refusal(other) == (405, "method_not_allowed", None)
        assert other.headers["allow"] == "POST"
        slash = await client.post("/v1/embeddings/", json={"input": "a"})
        assert refusal(slash) == (404, "not_found", None)
        assert "slash" in slash.text
        packed = gzip.compress(b'{"input": "a"}')
        answer = await client.post("/v1/embeddings", content=packed, headers={"content-encoding": "gzip"})
        assert refusal(answer) == (415, "encoding_not_supported", None)

    running(an_app(), work)


def test_a_content_type_is_not_needed() -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "nonsense"):
        assert ask("/v1/embeddings", {"input": "a"}, None, **{"content-type": kind}).status_code == 200


def test_an_image_bomb_and_odd_pictures_are_refused_by_their_header() -> None:
    bomb = bytearray(a_picture())
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    assert refusal(ask("/v1/embeddings", {"input": {"image": base64_of(bytes(bomb))}}))[1] == "too_many_pixels"
    secret = ask("/v1/embeddings", {"input": {"image": base64_of(b"root:x:0:0:secret")}})
    assert refusal(secret) == (400, "not_an_image", "input")
    assert "root" not in secret.text


def test_large_images_wait_for_room_and_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_SMALL_PIXELS", 100)
    app = an_app(max_pixels=400, max_pixels_at_once=500)
    found = ask("/v1/embeddings", {"input": [{"image": RED}, {"image": BLUE}, {"image": RED}]}, app).json()["data"]
    assert found[0]["embedding"] == found[2]["embedding"] != found[1]["embedding"]
    assert app.state.server.embedding.decoding.pixels_at_once.used == 0


def test_bodies_are_bounded_by_their_length_and_by_counting() -> None:
    app = an_app(max_body_bytes=2000, max_bodies_bytes=3000)
    large = json.dumps({"input": "a" * 3000}).encode()

    async def pieces() -> Any:
        for start in range(0, len(large), 500):
            yield large[start : start + 500]

    async def work(client: httpx.AsyncClient) -> None:
        for content in (large, pieces()):
            answer = await client.post("/v1/embeddings", content=content)
            assert refusal(answer) == (413, "body_too_large", None)
        assert app.state.server.desk.bodies.used == 0

    running(app, work)


def test_too_many_requests_get_503_and_a_time_and_the_others_their_answers() -> None:
    encoder = FakeEncoder()
    app = an_app(encoder, max_requests=3)
    encoder.gate.clear()

    async def work(client: httpx.AsyncClient) -> None:
        first = [asyncio.ensure_future(client.post("/v1/embeddings", json={"input": str(n)})) for n in range(3)]
        while app.state.server.desk.in_flight < 3:
            await asyncio.sleep(0.01)
        late = [await client.post("/v1/embeddings", json={"input": "late"}) for _ in range(40)]
        assert {refusal(refused) for refused in late} == {(503, "overloaded", None)}
        assert {refused.headers["retry-after"] for refused in late} == {"1", "2", "3"}
        assert [(await client.get(path)).status_code for path in ("/readyz", "/metrics")] == [200, 200]
        assert (await client.get("/v1/models")).status_code == 503
        encoder.gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*first)] == [200] * 3
        assert app.state.server.desk.in_flight == 0

    running(app, work)


def test_the_event_loop_comes_before_the_threads_that_compute() -> None:
    pools = ThreadPools(1)
    model, decoding = (pool.submit(_niceness).result() for pool in (pools.model, pools.decoding))
    pools.close()
    assert model == decoding > _niceness()


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_request_that_takes_too_long_and_one_that_fails_are_answered() -> None:
    encoder = FakeEncoder()
    app = an_app(encoder, request_timeout_s=0.2)
    encoder.gate.clear()
    assert refusal(ask("/v1/embeddings", {"input": "a"}, app)) == (503, "timed_out", None)
    encoder.gate.set()
    failed = ask("/v1/embeddings", {"input": "poison"}, an_app(), **{"x-request-id": "mine-1"})
    assert refusal(failed) == (500, "internal", None)
    assert failed.headers["x-request-id"] == "mine-1"
    assert "mine-1" in failed.json()["error"]["message"]


def test_a_lost_device_makes_the_server_unhealthy() -> None:
    app = an_app(FakeEncoder(raises=DeviceLostError))

    async def work(client: httpx.AsyncClient) -> None:
        assert refusal(await client.post("/v1/embeddings", json={"input": "poison"})) == (503, "device_lost", None)
        assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz")] == [503, 503]

    running(app, work)


def test_keys_are_asked_for_except_by_probes() -> None:
    gate = Gate(Keyring(lambda: (ApiKey("shop", digest("k"), 1),)), KeyRates(None))

    async def work(client: httpx.AsyncClient) -> None:
        assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        for path in ("/metrics", "/openapi.json", "/v1/models", "/nowhere"):
            assert refusal(await client.get(path)) == (401, "invalid_api_key", None)
        given = {"authorization": "Bearer k"}
        first = await client.post("/v1/embeddings", json={"input": "a"}, headers=given)
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        assert refusal(await client.get("/v1/models", headers=given))[:2] == (429, "rate_limited")

    running(an_app(gate=gate), work)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://[::1]/a.jpg",
        "http://[::ffff:127.0.0.1]/a.jpg",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://localhost:9/a.jpg",
        "http://10.0.0.1@127.0.0.1/",
    ],
)
def test_addresses_that_are_not_public_are_not_fetched(url: str) -> None:
    assert refusal(ask("/v1/embeddings", {"input": {"image": url}})) == (400, "address_refused", "input")


def test_a_server_may_fetch_nothing_or_from_some_hosts_alone() -> None:
    body = {"input": {"image": "http://img.example/a.jpg"}}
    none = ask("/v1/embeddings", body, an_app(images=ImageUrls(no_image_urls=True)))
    some = ask("/v1/embeddings", body, an_app(images=ImageUrls(allowed_image_hosts=("*.shop.example",))))
    assert (refusal(none)[1], refusal(some)[1]) == ("image_urls_not_allowed", "address_refused")


def test_a_host_that_is_allowed_is_a_host() -> None:
    assert ImageUrls(allowed_image_hosts=("*.图.example", "::1")).allowed_image_hosts == ("*.xn--wcs.example", "::1")
    for wrong in ("https://img.example", "img.example:8080", "img.example/a", "*"):
        with pytest.raises(ValidationError, match="is no host"):
            ImageUrls(allowed_image_hosts=(wrong,))


def test_long_texts_are_counted_or_refused() -> None:
    cut = ask("/v1/embeddings", {"input": ["长" * 60, "短"]}).json()["usage"]
    assert cut == {"prompt_tokens": 55, "total_tokens": 55, "images": 0, "texts_cut": 1}
    strict = ask("/v1/embeddings", {"input": ["短", "长" * 60]}, an_app(refuses_long_texts=True))
    assert refusal(strict) == (400, "text_too_long", "input[1]")


def test_a_client_that_leaves_ends_its_work() -> None:
    encoder = FakeEncoder()
    app = an_app(encoder)
    encoder.gate.clear()
    messages = [{"type": "http.request", "body": b'{"input": "a"}'}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    encoder.gate.set()
    assert sent[0]["status"] == 499
    assert app.state.server.desk.in_flight == 0


def test_a_client_that_leaves_within_its_body_is_no_error_of_the_server() -> None:
    app, sent = an_app(), []
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b'{"input', "more_body": True}]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 499
    assert app.state.server.desk.bodies.used == 0


def test_metrics_count_requests_passes_and_errors() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/v1/embeddings", json={"input": ["a", "b", "c"]})
        await client.post("/v1/embeddings", json={"input": []})
        await client.get("/made/up")
        lines = (await client.get("/metrics")).text.splitlines()
        for line in (
            'hanclip_serve_requests_total{route="/v1/embeddings",status="200",key="-"} 1',
            'hanclip_serve_requests_total{route="other",status="404",key="-"} 1',
            'hanclip_serve_rejected_total{code="invalid_request"} 1',
            'hanclip_serve_pass_rows_sum{tower="text"} 3',
            'hanclip_serve_pass_rows_limit{tower="image"} 4',
            "hanclip_serve_in_flight 1",
        ):
            assert line in lines

    running(an_app(), work)


def test_the_description_names_every_route_with_its_body() -> None:
    tree = ask_get("/openapi.json")
    posts = {path for path, methods in tree["paths"].items() if "post" in methods}
    assert {"/v1/embeddings", "/v1/similarity", "/v1/classify", "/v1/score", "/v1/rerank"} <= posts
    for path in posts:
        schema = tree["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]
        assert "$ref" not in json.dumps(schema)
        for name in _references(tree["paths"][path]):
            assert name in tree["components"]["schemas"], (path, name)


def test_probes_and_the_page_need_no_key_below_a_prefix_either() -> None:
    app = an_app(gate=Gate(Keyring(lambda: ()), KeyRates(None)))

    async def work() -> None:
        transport = httpx.ASGITransport(app, root_path="/clip")
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/clip") as client:
            answers = {path: await client.get(path) for path in ("/healthz", "/", "/v1/models")}
        assert {path: answer.status_code for path, answer in answers.items()} == {
            "/healthz": 200,
            "/": 200,
            "/v1/models": 401,
        }
        assert {answer.headers["x-content-type-options"] for answer in answers.values()} == {"nosniff"}

    asyncio.run(work())


def test_the_description_says_where_keys_are_needed() -> None:
    assert "security" not in an_app().openapi()
    tree = an_app(gate=Gate(Keyring(lambda: ()), KeyRates(None))).openapi()
    schemes = tree["components"]["securitySchemes"]
    assert tree["security"] == [{name: [] for name in schemes}]
    assert list(schemes.values()) == [{"type": "http", "scheme": "bearer"}]
    own = {path: route["get"].get("security") for path, route in tree["paths"].items() if "get" in route}
    assert own == {path: [] if path in ("/healthz", "/readyz") else None for path in own}


def ask_get(path: str) -> Any:
    async def run() -> Any:
        async with asking(an_app()) as client:
            return (await client.get(path)).json()

    return asyncio.run(run())


def _references(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        own = [tree["$ref"].removeprefix("#/components/schemas/")] if isinstance(tree.get("$ref"), str) else []
        return [*own, *(name for value in tree.values() for name in _references(value))]
    return [name for value in tree for name in _references(value)] if isinstance(tree, list) else []


SEEDS = [
    ("/v1/embeddings", {"model": "fake", "input": ["猫", {"image": RED}], "encoding_format": "float"}),
    ("/v1/embeddings", {"messages": [{"role": "user", "content": [{"type": "text", "text": "猫"}]}]}),
    ("/v1/similarity", {"images": [RED], "texts": ["猫", {"text": "狗"}]}),
    ("/v1/classify", {"images": RED, "labels": ["a", ["b", "c"]], "templates": ["{}"], "top_k": 1}),
    ("/v1/score", {"queries": "a", "documents": ["b", {"content": [{"text": "c"}]}]}),
    ("/v1/rerank", {"query": {"image_url": {"url": RED}}, "documents": ["a"], "top_n": 1}),
    ("/zero-shot-image-classification", {"inputs": RED, "parameters": {"candidate_labels": ["a", "b"]}}),
]


def test_thousands_of_mutated_bodies_never_break_the_server() -> None:
    dice, seen = random.Random(7), {200: 0, 400: 0, 404: 0}

    async def work(client: httpx.AsyncClient) -> None:
        for _ in range(4_000):
            path, body = a_mutation(SEEDS, dice)
            status, headers, sent = await call(app, path, body)
            assert status in seen, (path, body, sent)
            assert headers[b"x-request-id"]
            json.loads(sent)
            seen[status] += 1

    app = an_app()
    running(app, work)
    assert min(seen.values()) > 20
    assert app.state.server.desk.in_flight == app.state.server.desk.bodies.used == 0
