"""`hanclip serve` and `hanclip keys`: real clients, a real port, the demo model; and how the server ends."""

from __future__ import annotations

import asyncio
import base64
import gc
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import openai
import pyarrow.dataset as pads
import pytest
import torch
from huggingface_hub import InferenceClient

from actors.serving import application as serving
from flows.cli import main
from pipeline.curation.originals.read import originals
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.shard_file import read_footers
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import VARIABLE
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.search.numbers import number_of
from pipeline.serving.settings import SearchSettings, ServedModel, ServeSettings, ThreadCounts
from tests.fixtures.commands import Run
from tests.fixtures.examples import EXAMPLES
from tests.fixtures.places import ROOT
from tests.fixtures.serving import Served, a_picture, asking, base64_of, data_uri

RED, BLUE = a_picture((200, 30, 30), (300, 200)), a_picture((20, 20, 200), (300, 200), "JPEG")

DEMO_CATALOG = ROOT / "demo" / "catalog"


@pytest.fixture(scope="module")
def client(served: Served) -> Any:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as made:
        yield made


def test_vectors_are_those_of_the_dataset(served: Served, client: openai.OpenAI, demo_dataset: Path) -> None:
    columns = ["id", "source_fingerprint", "text", "image_embedding", "text_embedding"]
    rows = Dataset.open(str(demo_dataset)).embeddings(columns).to_table(filter=pads.field("text").is_valid())
    rows = rows.slice(0, 40)
    pictures = [{"image": base64_of(one.image)} for one in originals(str(demo_dataset), rows) if one.image]
    for items, column in ((pictures, "image_embedding"), (rows["text"].to_pylist(), "text_embedding")):
        stored = np.array(rows[column].to_pylist(), np.float32)
        together = client.embeddings.create(model="demo", input=items)
        alone = [client.embeddings.create(model="demo", input=item, encoding_format="float") for item in items[:3]]
        for found, expected in (
            ([one.embedding for one in together.data], stored),
            ([one.data[0].embedding for one in alone], stored[:3]),
        ):
            assert np.abs(np.array(found, np.float32) - expected).max() <= 1e-6


def test_exact_vectors_have_the_bits_of_the_dataset_whatever_shares_their_passes(
    hanclip: Run, local_ray: None, tmp_path: Path
) -> None:
    hanclip("embed", DEMO_CATALOG, tmp_path / "out", "--model", "demo", "--dtype", "fp32", "--exact", "--limit", 40)
    dataset = Dataset.open(str(tmp_path / "out"))
    columns = ["id", "source_fingerprint", "text", "image_embedding", "text_embedding"]
    rows = dataset.embeddings(columns).to_table(filter=pads.field("text").is_valid())
    pictures = [{"image": base64_of(one.image)} for one in originals(dataset.uri, rows) if one.image]
    items = {"image_embedding": pictures, "text_embedding": rows["text"].to_pylist()}
    parts = [slice(start, start + size) for size in (1, 7, len(rows)) for start in range(0, len(rows), size)]
    threads = torch.get_num_threads()

    async def ask() -> tuple[dict[str, Any], dict[str, list[Any]]]:
        settings = ServeSettings(search=SearchSettings(dataset=dataset.uri))
        async with asking(serving.loaded_application(settings, Gate(None, KeyRates(None)), cores=3)) as client:

            async def embedded(some: Any) -> Any:
                body = {"input": some, "encoding_format": "base64"}
                data = (await client.post("/v1/embeddings", json=body)).json()["data"]
                return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])

            assert gc.get_freeze_count() > 100_000  # full collections, which hold up all requests, pass these by
            found = {
                column: await asyncio.gather(*(embedded(given[part]) for part in parts))  # all at once
                for column, given in items.items()
            }
            return (await client.get("/v1/models")).json()["data"][0]["hanclip"], found

    try:
        card, found = asyncio.run(ask())
    finally:
        torch.set_num_threads(threads)
    assert len(rows) > 25
    for column, vectors in found.items():
        stored = np.array(rows[column].to_pylist(), np.float32)
        for part, some in zip(parts, vectors, strict=True):
            np.testing.assert_array_equal(some, stored[part])
    (makers,) = {tuple(footer.makers.items()) for footer in read_footers(dataset.files())}
    assert (card["exact"], card["computed_with"]) == (True, dict(makers))
    assert not {"none", "unknown"} & set(card["computed_with"].values())
    (run,) = hanclip("status", dataset.uri)["runs"]
    assert "exact: rows 1" in run["report"]["computing"][0]


def test_a_search_finds_what_the_command_finds(
    hanclip: Run, served: Served, client: openai.OpenAI, demo_dataset: Path
) -> None:
    found: Any = client.post("/search", body={"query": "红色的心", "top": 20}, cast_to=object)
    expected = hanclip("search", demo_dataset, "红色的心", "--top", "20")["queries"][0]["hits"]
    assert [row["id"] for row in found["data"]] == [hit["id"] for hit in expected]
    assert [row["similarity"] for row in found["data"]] == pytest.approx(
        [hit["similarity"] for hit in expected], abs=2e-6
    )
    assert client.models.list().data[0].model_dump()["hanclip"]["dataset"]["column"] == ["images", "texts"]
    message = hanclip("serve", "--dataset", demo_dataset, "--model", "demo", "--context-length", "30", code=2)[
        "message"
    ]
    assert "--model" in message


def test_the_openai_client_sees_models_errors_and_request_ids(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    about = client.models.retrieve(model.id).model_dump()["hanclip"]
    assert (about["dim"], about["exact"], about["computed_with"]["passes"]) == (128, False, "varying")
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as refused:
        client.embeddings.create(model="demo", input=[[101, 872, 102]])  # as LangChain's default sends it
    assert (refused.value.code, refused.value.param) == ("token_ids_not_supported", "input")
    assert refused.value.request_id
    with pytest.raises(openai.BadRequestError, match="Send the whole file") as refused:
        client.embeddings.create(model="demo", input=["猫", {"image": base64_of(BLUE[:200])}])
    assert (refused.value.code, refused.value.param) == ("truncated", "input[1]")
    with pytest.raises(openai.NotFoundError, match="'demo'"):
        client.embeddings.create(model="text-embedding-3-small", input="猫")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    answer: Any = client.post("/similarity", body={"images": [data_uri(RED)], "texts": ["红", "蓝"]}, cast_to=object)
    assert answer["data"][0]["probability"][0] > 0.5


def test_hugging_faces_client_classifies(served: Served) -> None:
    there = InferenceClient(model=f"{served.url}/zero-shot-image-classification", token=served.key)
    found = there.zero_shot_image_classification(RED, candidate_labels=["红色", "蓝色"])
    assert [one.label for one in found] == ["红色", "蓝色"]
    assert abs(sum(one.score for one in found) - 1) < 1e-6


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


CURLS = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("curl ")]


@pytest.fixture(scope="module")
def adapted(served: Served, client: openai.OpenAI, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Examples of the page with the address, the key, the model, a row and a picture of the tests."""
    picture = tmp_path_factory.mktemp("examples") / "cat.png"
    picture.write_bytes(RED)
    hits: Any = client.post("/search", body={"query": "猫", "top": 1}, cast_to=object)
    row = hits["data"][0]["id"]
    words = {
        "http://localhost:8000": served.url,
        "localhost:8000": served.url,
        "https://img.example/cat.jpg": data_uri(RED),
        "https://img.example/1.jpg": data_uri(BLUE),
        '"cat.jpg"': repr(str(picture)),
        'api_key="-"': f"api_key={served.key!r}",
        'token="-"': f"token={served.key!r}",
        "Bearer -": f"Bearer {served.key}",
        "vit-b-16": "demo",
        "shop/1234": row,
        str(number_of("shop/1234")): str(number_of(row)),
    }

    def adapt(example: str) -> str:
        return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], example)

    return adapt


@pytest.mark.parametrize("line", CURLS, ids=lambda line: line.split("8000")[1][:25])
def test_the_curl_examples_work(served: Served, adapted: Callable[[str], str], line: str) -> None:
    with_key = f'curl --silent --show-error --header "Authorization: Bearer {served.key}" '
    ran = subprocess.run(["bash", "-c", adapted(line).replace("curl ", with_key, 1)], capture_output=True, check=True)
    answer = json.loads(ran.stdout)
    assert answer
    assert "error" not in answer, answer


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.split()[1])
def test_the_python_examples_work(adapted: Callable[[str], str], client: openai.OpenAI, block: str) -> None:
    made: dict[str, Any] = {}
    exec(compile(adapted(block), "serve.md", "exec"), made)
    if "embeddings" in made:  # LangChain's
        expected = client.embeddings.create(model="demo", input=["一只猫", "一只狗"])
        assert np.abs(np.array(made["vectors"]) - [one.embedding for one in expected.data]).max() < 1e-6
    for value in made.values():
        if isinstance(value, openai.OpenAI):
            value.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_javascript_example_works(adapted: Callable[[str], str]) -> None:
    [block] = blocks("js")
    argv = ["node", "--input-type=module"]
    ran = subprocess.run(argv, input=adapted(block), capture_output=True, check=True, text=True)
    assert re.fullmatch(r"\[ ?0\.\d+, 0\.\d+ ?\]\n", ran.stdout), ran


def test_what_is_no_http_is_a_line_of_json_in_the_log(served: Served) -> None:
    with socket.create_connection((urlsplit(served.url).hostname, urlsplit(served.url).port), 10) as sent:
        sent.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert sent.recv(100).startswith(b"HTTP/1.1 400 ")
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert ("uvicorn.error", "Invalid HTTP request received.") in [
        (line.get("logger"), line.get("message")) for line in lines
    ]


def test_a_large_body_is_refused_while_it_is_sent(served: Served) -> None:
    def pieces() -> Any:
        yield b'{"input": "'
        for _ in range(40):
            yield b"a" * 2**20

    sent = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/x-www-form-urlencoded"}
    sent.request("POST", "/v1/embeddings", b'{"input": "\xe7\x8c\xab"}', headers)
    assert sent.getresponse().read().startswith(b'{"object":"list"')  # as curl -d sends it
    sent.putrequest("POST", "/v1/embeddings")
    for name, value in {**headers, "Content-Length": str(2**30)}.items():
        sent.putheader(name, value)
    sent.endheaders()
    answer = sent.getresponse()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert json.loads(answer.read())["error"]["code"] == "body_too_large"
    sent.close()
    try:
        counted = httpx.post(f"{served.url}/v1/embeddings", content=pieces(), headers=headers, timeout=30)
    except httpx.WriteError:
        return  # the connection was closed before the answer was read
    assert counted.status_code == 413


def test_every_accepted_request_is_answered_at_sigterm() -> None:
    argv = [sys.executable, "-m", "tests.fixtures.toy_api"]
    answers, connected = list[Any](), list[Any]()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout
        url = process.stdout.readline().strip()

        def ask_until_refused() -> None:
            with httpx.Client(base_url=url) as mine:
                while True:
                    try:
                        answers.append(mine.post("/v1/embeddings", json={"input": "猫"}).status_code)
                    except httpx.ConnectError:
                        return
                    except httpx.HTTPError as error:
                        answers.append(error)

        def connect_until_refused() -> None:
            address, question = (
                urlsplit(url),
                b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            )
            while True:
                try:
                    with socket.create_connection((address.hostname, address.port)) as connection:
                        connection.sendall(question)
                        connected.append(connection.makefile("rb").read()[9:12])
                except ConnectionRefusedError:
                    return
                except OSError as error:
                    connected.append(error)

        clients = [threading.Thread(target=ask) for ask in (ask_until_refused, connect_until_refused) for _ in range(8)]
        for each in clients:
            each.start()
        while len(answers) < 16:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        while (ready := httpx.get(f"{url}/readyz")).status_code == 200:
            time.sleep(0.01)
        late = httpx.post(f"{url}/v1/embeddings", json={"input": "late"})
        for each in clients:
            each.join()
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        assert set(answers) == {200}
        assert set(connected) == {b"200"}
        assert process.wait(15) == 0


def test_keys_are_made_listed_and_removed(hanclip: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = hanclip("keys", "add", file, "shop", "--rate", "2")
    assert made["key"].startswith("hc_")
    assert hanclip("keys", "list", file)["keys"] == [{"name": "shop", "requests_per_s": 2}]
    assert "above 0" in hanclip("keys", "add", file, "x", "--rate", "0", code=2)["message"]
    hanclip("keys", "remove", file, "shop")
    assert hanclip("keys", "list", file)["keys"] == []


def test_a_server_that_anybody_could_ask_does_not_start(hanclip: Run, tmp_path: Path, monkeypatch: Any) -> None:
    assert "there are no keys" in hanclip("serve", "--host", "0.0.0.0", code=2)["message"]
    missing = tmp_path / "keys"
    assert "hanclip keys add" in hanclip("serve", "--api-keys", missing, code=2)["message"]
    missing.touch()
    assert "holds no key" in hanclip("serve", "--api-keys", missing, code=2)["message"]
    monkeypatch.setenv(VARIABLE, f"a:{'0' * 64}")
    assert "--no-auth" in hanclip("serve", "--no-auth", code=2)["message"]


def test_wrong_options_are_named(hanclip: Run) -> None:
    assert "--max-waiting-images" in hanclip("serve", "--max-images", "2000", code=2)["message"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = hanclip("serve", "--port", taken.getsockname()[1], "--model", "demo", code=2)["message"]
    assert "Address already in use" in message


def test_cores_are_divided_between_decoding_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, device, expected in ((0, None, (2, 8)), (1, None, (7, 1)), (1, "cpu", (2, 8))):
        monkeypatch.setattr(serving, "visible_gpus", lambda gpus=gpus: gpus)
        assert serving.divided(ThreadCounts(), ServedModel(device=device), 8.0) == expected
    assert serving.divided(ThreadCounts(decode_threads=3, model_threads=2), ServedModel(), 8.0) == (3, 2)


def test_help_shows_both_clients(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert "curl localhost:8000/v1/similarity" in shown
    assert "openai.OpenAI" in shown


def test_the_client_of_the_example_finds_rows(served: Served, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    asked = subprocess.run(
        [sys.executable, "-I", EXAMPLES / "search" / "ask.py", "--url", served.url, "--picture", tmp_path / "red.png"],
        env={"HANCLIP_KEY": served.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert len(re.findall(r"^  -?\d\.\d{3}  [\w./-]+", asked.stdout, re.MULTILINE)) == 9, asked.stdout
