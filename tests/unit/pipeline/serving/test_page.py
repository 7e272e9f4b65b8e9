"""The page: its files and their policy, its words, and what it asks of a dataset: rows, facts and pictures."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from actors.serving.application import searching
from pipeline.dataset.dataset import Dataset
from pipeline.errors import HostDownError, TimedOutError, UnavailableError
from pipeline.pages.shared import read_words
from pipeline.serving import decoding
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import ApiKey, Keyring, digest
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.errors import ApiError
from pipeline.serving.page.files import page_files
from pipeline.serving.search import pictures
from pipeline.serving.search.browsing import Browsing
from pipeline.serving.search.searching import Searching
from pipeline.serving.settings import LOOPBACK, SearchSettings
from pipeline.sources.failures import NO_ANSWER
from pipeline.visible import visible
from pipeline.vocabulary import Reason
from tests.fixtures.embedded_sources import PICTURES, embed, folder
from tests.fixtures.places import ROOT
from tests.fixtures.serving import an_app, asking

PAGE = ROOT / "pipeline" / "serving" / "page"
SCRIPTS = sorted((PAGE / "static").glob("*.js"))
WORDS = read_words(PAGE / "catalog")
#: Ways from text to markup or code, which the policy forbids too.
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style"
)


def running(app: Any, work: Callable[[httpx.AsyncClient], Awaitable[Any]], **headers: str) -> Any:
    async def run() -> Any:
        async with asking(app, **headers) as client:
            return await work(client)

    return asyncio.run(run())


def got(app: Any, path: str, **headers: str) -> httpx.Response:
    found: httpx.Response = running(app, lambda client: client.get(path), **headers)
    return found


def keyed() -> Gate:
    return Gate(Keyring(lambda: (ApiKey("shop", digest("hc_secret"), None),)), KeyRates(None))


def test_the_page_and_its_files_need_no_key_and_may_load_nothing_else() -> None:
    app = an_app(gate=keyed())

    async def work(client: httpx.AsyncClient) -> None:
        page = await client.get("/")
        policy = dict(part.partition(" ")[::2] for part in page.headers["content-security-policy"].split("; "))
        assert (
            policy["default-src"]
            == policy["base-uri"]
            == policy["form-action"]
            == policy["frame-ancestors"]
            == "'none'"
        )
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' blob: data:"
        assert "unsafe" not in page.headers["content-security-policy"]
        assert (page.headers["x-content-type-options"], page.headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert page.headers["cache-control"] == "no-cache"
        again = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        named = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)
        assert len(named) == 5
        folder = named[0].rpartition("/")[0]
        for name in {*named, *(f"{folder}/{path.name}" for path in SCRIPTS), f"{folder}/words.js"}:
            file = await client.get(f"/{name}")
            assert file.status_code == 200, name
            assert "immutable" in file.headers["cache-control"]
            assert file.headers["content-security-policy"] == page.headers["content-security-policy"]
            assert "javascript" in file.headers["content-type"] or not name.endswith(".js")
        for missing in ("page/0000000000000000/main.js", f"{folder}/..%2findex.html", f"{folder}/index.html"):
            answer = await client.get(f"/{missing}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert (await client.get("/v1/models")).status_code == 401

    running(app, work)


def test_another_name_for_this_machine_gets_no_page() -> None:
    app = an_app(gate=Gate(None, KeyRates(None), LOOPBACK))
    assert got(app, "/", host="evil.example").status_code == 403
    assert got(app, "/").status_code == 200


def test_markup_has_no_scripts_styles_or_addresses_of_its_own() -> None:
    html = (PAGE / "static" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|<script(?! src=)|\son\w+=", html)
    assert all("://" not in address for address in re.findall(r'(?:src|href)="([^"]+)"', html))
    assert "url(" not in page_files().files["page.css"].body.decode()
    for script in SCRIPTS:
        assert not MARKUP.search(script.read_text(encoding="utf-8")), script.name


def test_the_page_says_what_is_in_its_catalog_and_nothing_else_is_there() -> None:
    html = (PAGE / "static" / "index.html").read_text(encoding="utf-8")
    text = html + "".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    used = set(re.findall(r'data-say(?:-[a-z-]+)?="([^"]+)"', html))
    used |= {key for key in WORDS if f'"{key}"' in text}
    families = {key.split(".")[0] for key in WORDS}
    named = set(re.findall(r'"([a-z]+\.[a-z_]+)"', text))
    assert {key for key in named if key.split(".")[0] in families} <= set(WORDS)
    assert used <= set(WORDS)
    assert {key for key in WORDS if not key.startswith("reason.")} <= used


def test_scripts_get_the_words_and_the_signs_of_hidden_characters() -> None:
    module = page_files().files["words.js"].body.decode()
    words = json.loads(module.partition("export const words = ")[2].partition(";\n")[0])
    assert words["page.switch"] == ["中文", "English"]
    assert words["reason.not_found"][0] == "not found"
    pattern = json.loads(module.partition("export const hidden = ")[2].rstrip(";\n"))
    assert re.sub(pattern, "-", "a\u202eb\u200bc") == "a-b-c"
    assert visible("a\u202eb") == "a<U+202E>b"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty pictures in a folder with captions. One is gone, one is another picture now."""
    place = tmp_path_factory.mktemp("browse")
    source = folder(place / "source")
    embed(source, place / "out")
    (place / "source" / "shelf 0" / "00.jpg").unlink()
    (place / "source" / "shelf 1" / "01.jpg").write_bytes(PICTURES[5])
    return str(place / "out")


@pytest.fixture(scope="module")
def routes(out: str) -> Any:
    return searching(Dataset.open(out), SearchSettings(dataset=out))


@pytest.fixture
def app(routes: Any) -> Any:
    return an_app(more=(routes,))


def rows(out: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in Dataset.open(out).embeddings().to_table().to_pylist()}


def test_a_row_has_all_columns_but_vectors_and_the_texts_nearest_to_its_image(routes: Any, out: str) -> None:
    id_ = "shelf 2/02.jpg"
    row = got(an_app(more=(routes,)), f"/v1/row?id={quote(id_, safe='')}").json()
    known = rows(out)
    assert (row["id"], row["source_fingerprint"]) == (id_, known[id_]["source_fingerprint"])
    assert row["columns"]["text"] == known[id_]["text"]
    assert {"image_uri", "image_width", "image_bytes", "run_date"} <= set(row["columns"])
    assert not {"image_embedding", "text_embedding"} & set(row["columns"])
    cosines = {
        one["text"]: float(np.dot(known[id_]["image_embedding"], one["text_embedding"])) for one in known.values()
    }
    assert [one["text"] for one in row["texts"]] == sorted(cosines, key=lambda text: -cosines[text])[:6]
    assert row["texts"][0]["similarity"] == pytest.approx(max(cosines.values()), abs=1e-6)
    missing = got(an_app(more=(routes,)), "/v1/row?id=nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "id_not_found")


def test_the_facts_name_what_can_be_filtered(app: Any, out: str) -> None:
    facts = got(app, "/v1/dataset").json()
    assert (facts["column"], facts["pictures"], facts["one_per_group"]) == (["images", "texts"], True, False)
    types = {one["name"]: one["type"] for one in facts["where"]}
    assert (types["run_date"], types["image_width"]) == ("date32[day]", "int32")
    assert "image_embedding" not in types
    assert out not in json.dumps(facts)


def test_pictures_are_small_jpegs_or_say_why_not(app: Any, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_SMALL_PIXELS", 100)  # they wait for room
    keys = {id_: row["source_fingerprint"] for id_, row in rows(out).items()}

    async def work(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [{"id": id_, "source_fingerprint": state} for id_, state in keys.items()]
        asked += [{**asked[2], "size": "large"}, {"id": "nothing", "source_fingerprint": "x"}]
        asked += [{"id": asked[2]["id"], "source_fingerprint": "x"}, {**asked[2], "size": "huge"}]
        return await asyncio.gather(*(client.get("/v1/picture", params=one) for one in asked))

    found = running(app, work)
    by_id = dict(zip(keys, found, strict=False))
    codes = [answer.json()["error"]["code"] for answer in (by_id.pop("shelf 0/00.jpg"), by_id.pop("shelf 1/01.jpg"))]
    assert codes == ["not_found", "changed"]
    for answer in [*by_id.values(), found[len(keys)]]:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["vary"] == "Authorization"  # no picture from the browser's cache without the key
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert max(Image.open(io.BytesIO(answer.content)).size) <= 1024
    assert [answer.status_code for answer in found[-3:]] == [404, 404, 400]
    assert not [answer for answer in found if answer.status_code != 200 and str(Path(out).parent) in answer.text]
    assert app.state.server.embedding.decoding.pixels_at_once.used == 0


@pytest.mark.parametrize(
    ("error", "code", "retry_after"),
    [
        (UnavailableError("x"), "unavailable", "5"),
        (TimedOutError("x"), "timeout", "5"),
        (HostDownError("x"), "host_down", "9"),
    ],
)
def test_a_dataset_whose_store_gives_no_answer_may_be_asked_again(
    out: str, error: UnavailableError, code: str, retry_after: str
) -> None:
    error.retry_after_s = 9.0 if code == "host_down" else 0.0
    searching = Searching.of(Dataset.open(out), SearchSettings(dataset=out))

    def away(_: object) -> None:
        raise error

    with pytest.raises(ApiError, match="The store of this dataset gives no answer now") as raised:
        searching.read(away)
    assert (raised.value.status, raised.value.code, raised.value.headers["Retry-After"]) == (503, code, retry_after)


def test_a_row_does_not_seem_to_have_no_texts_while_the_store_gives_no_answer(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching = Searching.of(Dataset.open(out), SearchSettings(dataset=out))

    def away(*_: object) -> None:
        raise UnavailableError("x")

    monkeypatch.setattr(searching, "_found", away)
    with pytest.raises(ApiError, match="The store of this dataset gives no answer now"):
        Browsing(searching).row("shelf 2/02.jpg")


@pytest.mark.parametrize("reason", Reason)
def test_a_picture_is_missing_only_if_it_does_not_exist(reason: Reason) -> None:
    absent = {Reason.NOT_FOUND, Reason.CHANGED, Reason.MISSING_IMAGE}
    status = 404 if reason in absent else 503 if reason in NO_ANSWER else 502
    error = pictures._gap(reason)
    assert (error.status, "Retry-After" in error.headers) == (status, status == 503)
