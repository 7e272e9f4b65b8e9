"""Keys and their rates."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.serving.access import keys
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.keys import ApiKey, KeyFile, Keyring, digest, parse_keys
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.errors import ApiError


def test_a_file_has_digests_alone_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys")
    made, other = file.add("shop", None), file.add("nightly", 1_234_567.5)
    assert made != other
    assert made not in (tmp_path / "keys").read_text()
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert file.keys() == (ApiKey("shop", digest(made)), ApiKey("nightly", digest(other), 1_234_567.5))
    file.remove("shop")
    assert file.keys() == (ApiKey("nightly", digest(other), 1_234_567.5),)


def test_what_else_is_in_a_file_and_who_may_read_it_stays(tmp_path: Path) -> None:
    path, link = tmp_path / "keys", tmp_path / "link"
    before = f"# of shop, and of others\nshop:{'0' * 64},nightly:{'1' * 64}:5"
    path.write_text(before)
    path.chmod(0o640)
    link.symlink_to(path)
    file = KeyFile(link)
    file.add("daily", None)
    file.remove("daily")
    assert path.read_text() == f"{before}\n"
    file.remove("shop")
    assert path.read_text() == f"# of shop, and of others\nnightly:{'1' * 64}:5\n"
    assert (link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == (True, 0o640)
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        KeyFile(tmp_path / "nowhere" / "keys").add("shop", None)


def test_keys_that_are_made_and_removed_at_once_are_all_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, random = tmp_path / "keys", secrets.token_urlsafe
    KeyFile(path).add("old", None)

    def slow(size: int) -> str:
        time.sleep(0.05)  # the others read the file meanwhile, unless they wait
        return random(size)

    monkeypatch.setattr(secrets, "token_urlsafe", slow)
    with ThreadPoolExecutor() as threads:
        made = [threads.submit(KeyFile(path).add, name, None) for name in ("a", "b", "c")]
        time.sleep(0.02)
        threads.submit(KeyFile(path).remove, "old").result()
    held = KeyFile(path).keys()
    assert {key.sha256 for key in held} == {digest(key.result()) for key in made}


def test_a_file_of_another_owner_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    path = tmp_path / "keys"
    KeyFile(path).add("shop", None)
    path.chmod(0o640)
    monkeypatch.setattr(os, "fchown", refused)
    KeyFile(path).add("night", None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65])
def test_names_that_would_break_a_line_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no name for a key"):
        KeyFile(tmp_path / "keys").add(name, None)


def test_a_name_is_given_once_and_only_known_ones_are_removed(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys")
    file.add("shop", None)
    with pytest.raises(ConfigError, match="has a key called shop"):
        file.add("shop", None)
    with pytest.raises(ConfigError, match="no key called night; its keys: shop"):
        file.remove("night")


@pytest.mark.parametrize("line", ["shop", "shop:abc", f"shop:{'0' * 64}:fast", f"shop:{'0' * 64}:0", "sk-secret:"])
def test_wrong_lines_are_named_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError, match="f, line 2 is not NAME:SHA256") as refused:
        parse_keys(f"# keys\n{line}", "f")
    assert line not in str(refused.value)


def test_a_server_reads_a_changed_file_and_survives_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LOOK_EVERY_S", 0)
    monkeypatch.setenv(keys.VARIABLE, f"env:{digest('from-env')}")
    path, problems = tmp_path / "keys", []
    made = KeyFile(path).add("shop", None)
    ring = Keyring.of(path, problems.append)
    assert [ring.owner(key) and ring.owner(key).name for key in (made, "from-env", "x", "")] == [
        "shop",
        "env",
        None,
        None,
    ]
    path.unlink()
    assert ring.owner(made) is None
    again = KeyFile(path).add("shop", None)
    assert ring.owner(again)
    path.write_text("nonsense")
    assert ring.owner(again)
    path.unlink()
    path.mkdir()
    assert ring.owner(again)
    wanted = ("any more: shop. Valid keys: 1.", "line 1", "cannot be read")
    assert [name in problem for name, problem in zip(wanted, problems, strict=True)] == [True] * 3


def test_rates_refill_and_say_when() -> None:
    now = [0.0]
    rates = KeyRates(2, lambda: now[0])
    assert rates.take("a", None)["x-ratelimit-remaining-requests"] == "1"
    rates.take("a", None)
    with pytest.raises(ApiError, match="2 requests a second") as refused:
        rates.take("a", None)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")
    rates.take("b", None)  # another key
    now[0] = 0.5
    rates.take("a", None)
    rates.take("slow", 0.1)
    with pytest.raises(ApiError) as refused:
        rates.take("slow", 0.1)
    assert refused.value.headers["Retry-After"] == "10"
    assert KeyRates(None).take("a", None) == {}


def gate_of(*names: str) -> Gate:
    return Gate(Keyring(lambda: tuple(ApiKey(name, digest(f"key-{name}")) for name in names)), KeyRates(None))


@pytest.mark.parametrize("header", ["", "key-shop", "Basic key-shop", "Bearer", "Bearer key-", "Bearer key-shop2"])
def test_requests_without_a_valid_key_are_refused(header: str) -> None:
    with pytest.raises(ApiError, match="Authorization: Bearer") as refused:
        gate_of("shop").admit({"authorization": header})
    assert (refused.value.status, refused.value.headers) == (401, {"WWW-Authenticate": "Bearer"})


def test_a_key_gives_its_name() -> None:
    assert gate_of("a", "shop", "b").admit({"authorization": "bearer  key-shop "}) == ("shop", {})


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"host": "localhost:80"}, True),
        ({"host": "[::1]:80", "origin": "http://[::1]:80"}, True),
        ({"host": "localhost", "origin": "http://localhost:3000"}, True),
        ({"host": "evil.example"}, False),
        ({"host": "localhost", "origin": "https://evil.example"}, False),
        ({"host": "localhost", "origin": "null"}, False),
        ({}, False),
    ],
)
def test_without_keys_other_names_and_pages_elsewhere_are_refused(headers: dict[str, str], allowed: bool) -> None:
    gate = Gate(None, KeyRates(None), ("localhost", "::1"))
    if allowed:
        assert gate.admit(headers) == (None, {})
    else:
        with pytest.raises(ApiError, match="localhost") as refused:
            gate.admit(headers)
        assert refused.value.status == 403


def test_a_wrong_key_of_the_environment_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyFile(tmp_path / "keys").add("shop", None)
    for given, message in (
        ("nonsense", "HANCLIP_API_KEYS, line 1 is not NAME"),
        (f"shop:{'0' * 64}", "keys with HANCLIP_API_KEYS has two keys called shop"),
    ):
        monkeypatch.setenv(keys.VARIABLE, given)
        with pytest.raises(ConfigError, match=message):
            Keyring.of(tmp_path / "keys", print)
