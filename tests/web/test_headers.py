"""Test which headers reach servers, and what their headers mean: `X-Robots-Tag` and unasked compression."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest

from pipeline import __version__, storage
from pipeline.config import SourceConfig
from pipeline.errors import DisallowedError, ForbiddenError, StorageError, TooLargeError
from pipeline.storage import ReadPolicy
from pipeline.storage.backends.http.robots import forbidding
from tests.fixtures.servers.web import Site
from tests.fixtures.sources import read, reasons, scan


@pytest.fixture
def other() -> Iterator[Site]:
    """A web server on another host."""
    site = Site(host="127.0.0.2")
    site.start()
    yield site
    site.stop()


def fetch(url: str, **options: object) -> bytes | StorageError:
    config = SourceConfig.model_validate({"retry_timeout_s": 0, "allow_private_hosts": True, **options})
    return storage.read_many([url], ReadPolicy.of(config))[0]


def test_the_default_user_agent_has_the_version_and_every_header_can_be_given(site: Site) -> None:
    fetch(site.url("/a"))
    assert site.headers[-1]["user-agent"] == f"hanclip/{__version__}"
    fetch(site.url("/a"), http_headers=("User-Agent: mine/2 (+https://h/)", "Referer: https://shop/", "X-A: 一"))
    sent = site.headers[-1]
    assert (sent["user-agent"], sent["referer"]) == ("mine/2 (+https://h/)", "https://shop/")
    assert sent["x-a"].encode("latin-1").decode() == "一"


def test_secrets_stay_at_the_first_host_of_a_redirect(site: Site, other: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    lines = ("Authorization: env:TOKEN", "Referer: https://shop/")
    for target, expected in ((site.url("/a"), "s3cret"), (other.url("/a"), None)):
        assert fetch(site.url(f"/to?{target}"), http_headers=lines) == b"image bytes"
        last = (other.headers or site.headers)[-1]
        assert (last.get("authorization"), last["referer"]) == (expected, "https://shop/")
    assert site.headers[-1]["authorization"] == "s3cret"


def test_a_table_on_a_web_server_and_its_images_are_requested_with_the_headers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    site.files["/t.csv"] = f"id,url\n1,{site.url('/a.jpg')}\n".encode()
    found = scan(site.url("/t.csv"), allow_private_hosts=True, http_headers=("Cookie: env:TOKEN",))
    assert reasons(read(*found)) == {}
    assert set(site.requests) == {"/t.csv", "/a.jpg"}
    assert all(headers["cookie"] == "s3cret" for headers in site.headers)
    assert "s3cret" not in repr(found)


def test_a_refusal_names_its_usual_causes(site: Site) -> None:
    refused, login = fetch(site.url("/status/403?sig=s3cret")), fetch(site.url("/status/401"))
    assert isinstance(refused, ForbiddenError)
    assert all(word in str(refused) for word in ("HTTP 403", "Referer", "User-Agent", "expired"))
    assert "s3cret" not in str(refused)
    assert "Authorization: env:VARIABLE" in str(login)


def test_a_robots_tag_is_respected_on_request(site: Site) -> None:
    site.files |= {"/no": b"x", "/yes": b"x"}
    site.sent = {"/no": {"X-Robots-Tag": "noarchive, NoAI"}, "/yes": {"X-Robots-Tag": "otherbot: noindex"}}
    assert fetch(site.url("/no")) == b"x"
    assert isinstance(fetch(site.url("/no"), respect_robots_tag=True), DisallowedError)
    assert fetch(site.url("/yes"), respect_robots_tag=True) == b"x"
    lines = ("User-Agent: OtherBot/1.0",)
    assert isinstance(fetch(site.url("/yes"), respect_robots_tag=True, http_headers=lines), DisallowedError)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("noindex", "noindex"),
        ("nofollow, noimageai", "noimageai"),
        ("NONE", "none"),
        ("index, follow, max-snippet: 20, unavailable_after: 25 Jun 2010 15:00:00 PST", None),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noai", "noai"),
        ("badbot: noindex, nofollow", None),
        ("badbot: noindex, hanclip: noai", "noai"),
        ("*: noimageindex", "noimageindex"),
        ("", None),
    ],
)
def test_directives_for_this_robot_or_all_robots_count(value: str, found: str | None) -> None:
    assert forbidding([value], "hanclip") == found


def test_a_body_that_was_compressed_unasked_is_decompressed_within_the_limit(site: Site) -> None:
    data = b"image" * 1000
    forms = {"gzip": gzip.compress(data), "x-gzip": gzip.compress(data), "deflate": zlib.compress(data)}
    for encoding, body in [*forms.items(), ("gzip", data)]:
        site.files["/z"], site.sent["/z"] = body, {"Content-Encoding": encoding}
        assert fetch(site.url("/z")) == data, encoding
    assert isinstance(fetch(site.url("/z"), max_image_bytes=len(data) - 1), TooLargeError)
    site.files["/z"] = forms["gzip"]
    assert isinstance(fetch(site.url("/z"), max_image_bytes=len(data) - 1), TooLargeError)
    cut_off = forms["gzip"][:-9]
    for encoding, body in (("br", b"x"), ("gzip", b"\x1f\x8bdamaged"), ("gzip", cut_off)):
        site.files["/z"], site.sent["/z"] = body, {"Content-Encoding": encoding}
        assert isinstance(fetch(site.url("/z")), StorageError)
