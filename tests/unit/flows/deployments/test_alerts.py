"""The file of alerts is valid, and wrong addresses are refused without showing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect.events.filters import AutomationFilter

from flows.deployments import retired
from flows.deployments.alerts import TAG, VARIABLE, check_webhook, held_automations
from pipeline.errors import ConfigError


@pytest.mark.parametrize("url", ["hooks.example.com/secret", "ftp://host/secret", "http:///secret", "http://[secret"])
def test_a_wrong_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match=VARIABLE) as refused:
        check_webhook(url)
    assert "secret" not in str(refused.value)


def test_an_address_may_have_a_path_and_a_query() -> None:
    check_webhook("https://hooks.example.com:8443/services/T0/B0?token=x")


class SharedServer:
    """A client of a server that gives two automations at a time, as a Prefect server gives 200."""

    def __init__(self, **tags: str) -> None:
        self.held = [SimpleNamespace(id=name, name=name.rstrip("_"), tags=[tag]) for name, tag in tags.items()]

    def read_automations(self, automations: AutomationFilter, offset: int) -> list[Any]:
        names, tags = automations.name and automations.name.any_, automations.tags and automations.tags.all_
        found = [one for one in self.held if one.name in (names or []) or tags == one.tags]
        return found[offset : offset + 2]

    def delete_automation(self, id_: str) -> None:
        self.held = [one for one in self.held if one.id != id_]


def test_our_automations_are_found_on_a_server_with_many() -> None:
    server = SharedServer(other="", a=TAG, b=TAG, c="", d=TAG, e="", f="")
    found = held_automations(cast(Any, server), ["b", "c", "e", "f"])
    assert {one.name for one in found} == set("abcdef")
    assert len(found) == 6


def test_all_retired_automations_of_a_name_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    [name] = retired.RETIRED
    server = SharedServer(**{name: "", f"{name}_": "", f"{name}__": "", "other": ""})

    @contextmanager
    def get_client(sync_client: bool) -> Iterator[SharedServer]:
        yield server

    monkeypatch.setattr(retired, "get_client", get_client)
    assert retired.delete_retired_automations() == [name] * 3
    assert [one.name for one in server.held] == ["other"]
