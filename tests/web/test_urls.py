"""Test that URLs and redirects reach the server as they were written, with only illegal characters quoted."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from pipeline import storage
from pipeline.errors import BadUriError, StorageError
from pipeline.storage.backends.http.urls import HttpUrl
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy
from tests.fixtures.servers.web import Site

OPEN: ReadPolicy = replace(DEFAULT_POLICY, allow_private_hosts=True, retry_timeout_s=0)

#: Legal as they are, so that every client sends the same.
LEGAL = [
    "/a.jpg?sig=a%2Fb",
    "/strict%27.jpg",
    "/it's(1),;=&$!*~.jpg",
    "/a%40b%28c%29%2b%20%7E.jpg",
    "/%e4%B8%ad.jpg?x=%e4",
    "/?d=attachment%3B%20filename%2A%3DUTF-8%27%27a.jpg",
    "/a+b.jpg?c+d=e+f;g=h;i",
    "/empty?",
    "/empty?a=&b&&",
    "/a//b///c.jpg",
    "/a/./b/../c.jpg",
    "/%2e%2E/c.jpg",
    "/trailing.../dots.",
    "/q?a?b=/c/../d:e@f",
    "/[x]?y[0]=z",
    "/a:b@c.jpg",
    "?only=query",
    "",
]  # fmt: skip

QUOTED = [
    ("/图 片.jpg?名=值 1", "/%E5%9B%BE%20%E7%89%87.jpg?%E5%90%8D=%E5%80%BC%201"),
    ("/😀.jpg#图", "/%F0%9F%98%80.jpg"),
    ('/a"b<c>d`e.jpg', "/a%22b%3Cc%3Ed%60e.jpg"),
    ("/a\tb\nc\x7f.jpg", "/a%09b%0Ac%7F.jpg"),
    ("/100%.jpg?50%&%zz", "/100%25.jpg?50%25&%25zz"),
    ("/%2F图%2f.jpg", "/%2F%E5%9B%BE%2f.jpg"),
]


def sent(site: Site, url: str) -> str:
    """What the request line had after reading `url`."""
    result = storage.read_many([url], OPEN)[0]
    assert not isinstance(result, StorageError), result
    return site.lines[-1].removeprefix("GET ").removesuffix(" HTTP/1.1")


def test_a_legal_url_is_sent_byte_for_byte(site: Site) -> None:
    expected = [target if target.startswith("/") else f"/{target}" for target in LEGAL]
    assert [sent(site, site.url(target)) for target in LEGAL] == expected


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_sends_the_same(site: Site) -> None:
    urls = [site.url(target) for target in LEGAL]
    subprocess.run(["curl", "-s", "--globoff", "--path-as-is", *urls], check=True, capture_output=True)
    lines, site.lines = site.lines, []
    for url in urls:
        sent(site, url)
    assert lines == site.lines


@pytest.mark.parametrize(("written", "target"), QUOTED)
def test_only_illegal_characters_are_quoted(site: Site, written: str, target: str) -> None:
    assert sent(site, site.url(written)) == target


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/a.jpg?sig=a%2Fb%27", "/a.jpg?sig=a%2Fb%27"),
        ("/图 片.jpg?x=名", "/%E5%9B%BE%20%E7%89%87.jpg?x=%E5%90%8D"),
        ("/\udcc4\udce3.jpg", "/%C4%E3.jpg"),
        ("b%2f.jpg", "/deep//er/b%2f.jpg"),
        ("../b.jpg", "/deep//b.jpg"),
        ("./", "/deep//er/"),
        ("/a?#fragment", "/a?"),
        ("//HOST/c%27.jpg", "/c%27.jpg"),
        ("http://HOST/d//e.jpg", "/d//e.jpg"),
    ],
)
def test_a_redirect_is_followed_as_it_was_sent(site: Site, location: str, target: str) -> None:
    site.locations["/deep//er/from"] = location.replace("HOST", site.url("").partition("://")[2])
    assert sent(site, site.url("/deep//er/from?q")) == target


def test_a_redirect_to_another_query_keeps_the_path() -> None:
    assert str(HttpUrl.parse("http://h/a//b?c").follow("?d=%2f")) == "http://h/a//b?d=%2f"


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("http://图片.example/a", "xn--wcsw84d.example"),
        ("http://%E5%9B%BE%E7%89%87.example/a", "xn--wcsw84d.example"),
        ("HTTPS://faß.example:8443/a", "xn--fa-hia.example"),
        ("http://例え。jp/a", "xn--r8jz45g.jp"),
        ("http://img_1.example./a", "img_1.example."),
    ],
)
def test_international_hosts_are_looked_up_in_ascii(written: str, host: str) -> None:
    assert HttpUrl.parse(written).sent.raw_host == host


@pytest.mark.parametrize(
    "url",
    ["http://[bad/a.jpg", "http://h:99999/a", "http://a b/c", "http://%2Fa/b", "http://a..b/c", f"http://{'a' * 70}/b"],
)
def test_what_is_no_url_fails_alone(site: Site, url: str) -> None:
    bad, good = storage.read_many([url, site.url("/a.jpg")], OPEN)
    assert isinstance(bad, BadUriError)
    assert good == b"image bytes"
