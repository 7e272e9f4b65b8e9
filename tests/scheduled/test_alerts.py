"""Automations on a real server: accepted, changed only when something is new, and sent by a run that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.deployments.alerts import BLOCK, TAG, VARIABLE, apply_alerts, read_alerts
from tests.fixtures.infra import INFRA
from tests.fixtures.processes import until
from tests.fixtures.servers.prefect import PrefectServer

FILE = INFRA / "prefect/automations/alerts.yaml"
NAMES = [alert.name for alert in read_alerts(FILE).alerts]


class Receiver:
    """A webhook on a loopback port; keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[dict[str, object]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/json"
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/secret"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def alerts(self) -> dict[str, dict[str, str]]:
        """Labels and annotations by flow run."""
        found = [alert for body in self.received for alert in body["alerts"]]
        return {alert["labels"]["flow_run"]: {**alert["labels"], **alert["annotations"]} for alert in found}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@flow(flow_run_name="{name}")
def night(name: str, message: str) -> State[None]:
    return Failed(message=message) if message else Completed()


def test_a_failing_run_reaches_the_webhook_and_a_completed_one_does_not(prefect_here: PrefectServer, receiver):
    try:
        assert apply_alerts(FILE, {}) == [f"Alerts: {VARIABLE} is not set, so no automation sends alerts"]
        assert apply_alerts(FILE, {VARIABLE: receiver.url}) == [f"{name}: created" for name in NAMES]
        assert apply_alerts(FILE, {}) == [f"Alerts: {len(NAMES)} automations unchanged"]
        _switch_off(prefect_here, NAMES[-1])
        _rename(prefect_here, NAMES[2], "hanclip-older")
        assert apply_alerts(FILE, {VARIABLE: receiver.url}) == [f"{NAMES[2]}: created", "hanclip-older: deleted"]
        assert _automations(prefect_here)[NAMES[-1]]["enabled"] is False

        with tags("hanclip"):
            for name, message in (
                ("good", ""),
                ("bad", 'The store "x" is down.'),
                ("dirty", "Too much in quarantine: 9 %"),
            ):
                night(name, message, return_state=True)
        night("not ours", "Failed.", return_state=True)
        until(lambda: {"bad", "dirty"} <= set(receiver.alerts()), "the alerts", 30, log=prefect_here.log)
        assert set(receiver.alerts()) == {"bad", "dirty"}
        bad, dirty = receiver.alerts()["bad"], receiver.alerts()["dirty"]
        assert (bad["alertname"], bad["severity"], bad["flow"]) == ("hanclip-run-failed", "critical", "night")
        assert bad["summary"] == 'night run "bad": The store "x" is down.'
        assert (dirty["alertname"], dirty["severity"]) == ("hanclip-quarantine-high", "warning")
        assert str(receiver.received[0]["text"]).startswith('[critical] hanclip-run-failed: night run "bad": ')
    finally:
        for name in NAMES:
            prefect_here.delete("automations", name=name)
        prefect_here.delete("block_documents", name=BLOCK)


def _automations(server: PrefectServer) -> dict[str, dict[str, object]]:
    found = server.call("POST", "/automations/filter", {})
    return {one["name"]: one for one in found if TAG in one["tags"]}


def _switch_off(server: PrefectServer, name: str) -> None:
    server.call("PATCH", f"/automations/{_automations(server)[name]['id']}", {"enabled": False})


def _rename(server: PrefectServer, name: str, new: str) -> None:
    held = _automations(server)[name]
    fields = ("description", "enabled", "tags", "trigger", "actions")
    server.call("PUT", f"/automations/{held['id']}", {"name": new, **{field: held[field] for field in fields}})
