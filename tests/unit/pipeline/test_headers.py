"""Test the headers that users give: what is refused, where secrets come from and which hosts they go to."""

from __future__ import annotations

import pickle
import re

import pytest

from pipeline.config import RunConfig, parse
from pipeline.credentials import refuse_credentials_in
from pipeline.credentials.headers import HeaderVariables, HttpHeaders
from pipeline.errors import ConfigError
from pipeline.storage import ReadPolicy

SECRETS = [
    "Authorization: Bearer s3cret",
    "authorization:s3cret",
    "Proxy-Authorization: Basic s3cret",
    "Cookie: a=s3cret",
    "X-Api-Key@img.example:8080: s3cret",
    "X-Auth-Token: s3cret",
    "Authorization: Bearer env:s3cret",
]
GOOD = [
    "Referer: https://shop.example/a?b=c",
    "User-Agent: mine/1.0 (+https://example.com/bot)",
    "Accept-Language: zh-CN,zh;q=0.9",
    "X-Empty:",
    "Authorization: env:TOKEN",
    "Cookie@img.example: env:TOKEN",
    "X-Api-Key@img.example:8080: env:TOKEN",
]


def pattern() -> str:
    return str(RunConfig.model_json_schema()["$defs"]["SourceConfig"]["properties"]["http_headers"]["items"]["pattern"])


@pytest.mark.parametrize("line", SECRETS)
def test_secrets_in_the_clear_are_refused_everywhere_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError, match="put it into an environment variable") as raised:
        parse({"source": {"http_headers": [line]}})
    assert "s3cret" not in str(raised.value)
    assert not re.search(pattern(), line)
    with pytest.raises(ValueError, match="is a secret"):
        refuse_credentials_in({"config": {"source": {"http_headers": [line]}}})


@pytest.mark.parametrize("line", GOOD)
def test_other_headers_are_kept_as_written(line: str) -> None:
    config = parse({"source": {"http_headers": [line]}})
    assert config.source.http_headers == (line,)
    assert re.search(pattern(), line)


def test_hosts_are_compared_as_they_are_looked_up() -> None:
    lines = ["A@[::1]: v", "B@[::1]:8000: v", "C@图.example: v", "D@图.Example:8000: v", "E@[2001:DB8:0::A]: v"]
    headers = HttpHeaders.of(lines, {})
    hosts = ("::1", "xn--wcs.example", "2001:db8::a")
    found = [[name for name, _ in headers.for_host(host, 8000, True)] for host in hosts]
    assert found == [["A", "B"], ["C", "D"], ["E"]]


@pytest.mark.parametrize(
    "line",
    ["no header", ": x", "A B: c", "X: a\r\nY: b", "Host: h", "range: bytes=0-1", "X@: v", "X@a..b: v", "X@[1:2]: v"],
)
def test_what_is_no_header_or_is_hanclips_own_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="http_headers"):
        parse({"source": {"http_headers": [line]}})


def test_a_referer_with_a_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="user or a password"):
        parse({"source": {"http_headers": ["Referer: https://me:s3cret@h/"]}})


def test_secrets_come_from_the_environment_and_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse({"source": {"http_headers": ["Authorization: env:TOKEN"]}})
    with pytest.raises(ConfigError, match="TOKEN, which the header Authorization needs, is not set"):
        ReadPolicy.of(config.source)
    monkeypatch.setenv("TOKEN", "Bearer s3cret\n")
    policy, variables = ReadPolicy.of(config.source), HeaderVariables.of(config.source.http_headers)
    assert policy.headers.for_host("h", 80, first=True) == [("Authorization", "Bearer s3cret")]
    assert "s3cret" not in f"{policy!r} {variables!r} {config!r} {config.to_yaml()} {config.model_dump_json()}"
    monkeypatch.setenv("TOKEN", "Bearer s3cret\r\nX: y")
    with pytest.raises(ConfigError, match="control characters") as raised:
        ReadPolicy.of(config.source)
    assert "s3cret" not in str(raised.value)


def test_another_machine_gets_the_variables_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["Authorization: env:TOKEN", "Cookie: env:ABSENT", "Referer: https://h/"]
    monkeypatch.setenv("TOKEN", "s3cret")
    carried = pickle.dumps(HeaderVariables.of(lines))
    monkeypatch.delenv("TOKEN")
    variables = pickle.loads(carried)
    assert dict(variables.values) == {"TOKEN": "s3cret"}
    variables.install()
    assert HttpHeaders.of(lines[:1]).for_host("h", 80, first=True) == [("Authorization", "s3cret")]
    monkeypatch.delenv("TOKEN")


def test_headers_go_to_their_host_and_secrets_to_no_host_of_a_redirect() -> None:
    lines = ["Referer: r", "A@img.example: one", "B@IMG.example:8080: two", "Cookie: env:C", "D@img.example: env:C"]
    headers = HttpHeaders.of(lines, {"C": "c"})

    def names(host: str, port: int, first: bool = True) -> str:
        return " ".join(name for name, _ in headers.for_host(host, port, first))

    assert names("img.example", 443) == "Referer A Cookie D"
    assert names("img.example", 8080) == "Referer A B Cookie D"
    assert names("other.example", 80) == "Referer Cookie"
    assert names("img.example", 443, first=False) == "Referer A"
