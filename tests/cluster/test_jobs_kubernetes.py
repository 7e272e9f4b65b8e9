"""Authentication to a Kubernetes API server over TLS: kubeconfigs, service accounts and exec plugins."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.jobs.errors import RefusedError, TransientJobError, UnreachableError
from flows.jobs.kuberay import api as kube_api
from flows.jobs.kuberay import exec_plugin
from flows.jobs.kuberay.backend import KubeRay
from flows.jobs.target import TargetConfig
from pipeline.errors import ConfigError
from tests.fixtures.servers.kubernetes import TOKEN, FakeKubernetes

TARGET = TargetConfig(backend="kuberay", namespace="jobs")
PROTOCOL = "client.authentication.k8s.io"
V1 = f"{PROTOCOL}/v1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=fake", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return place


@pytest.fixture
def kubernetes(authority: Path) -> Iterator[FakeKubernetes]:
    """An API server over TLS that accepts client certificates of the authority, and the token."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority / "cert.pem"))
    tls.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    server = FakeKubernetes(tls)
    server.start()
    yield server
    server.stop()


def test_authority_certificate_and_token_come_from_the_kubeconfig(
    kubernetes: FakeKubernetes, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = {"certificate-authority-data": base64.b64encode((authority / "cert.pem").read_bytes()).decode()}
    user = {"client-certificate": str(authority / "cert.pem"), "client-key": str(authority / "key.pem")}
    assert kubernetes.tls
    kubernetes.tls.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(trust, token=TOKEN, **user)))
    assert KubeRay.of(TARGET).find(app="hanclip") == []
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(trust, token=TOKEN)))
    with pytest.raises(UnreachableError):
        KubeRay.of(TARGET).find()
    kubernetes.tls.verify_mode = ssl.CERT_OPTIONAL
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(token=TOKEN)))
    with pytest.raises(RefusedError, match=r"certificate of https://127.* not trusted"):
        KubeRay.of(TARGET).find()
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(trust, token="wrong")))
    with pytest.raises(RefusedError, match=r"refuses the credentials \(401.*rayjobs.ray.io"):
        KubeRay.of(TARGET).find()


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"auth-provider": {}}, "client certificate"),
        ({"username": "me"}, "client certificate"),
        ({"exec": {"command": "aws"}}, r"(?s)apiVersion: Field required.*aws eks update-kubeconfig"),
        ({"exec": {"apiVersion": f"{PROTOCOL}/v1alpha1", "command": "aws"}}, "apiVersion: Input should be"),
        ({"exec": {"apiVersion": V1, "command": "oidc", "interactiveMode": "Always"}}, "interactiveMode: Input"),
    ],
)
def test_an_unsupported_sign_in_is_refused_at_once(
    kubernetes: FakeKubernetes, user: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(**user)))
    with pytest.raises(ConfigError, match=message):
        KubeRay.of(TARGET)


def test_a_pod_reads_the_token_of_its_account_anew_each_time(
    kubernetes: FakeKubernetes, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "serviceaccount"
    account.mkdir()
    shutil.copy(authority / "cert.pem", account / "ca.crt")
    (account / "token").write_text("an-expired-one")
    monkeypatch.setattr(kube_api, "SERVICE_ACCOUNT", account)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", kubernetes.address.rpartition(":")[2])
    backend = KubeRay.of(TARGET)
    with pytest.raises(RefusedError):
        backend.find()
    (account / "token").write_text(TOKEN)
    assert backend.find() == []


class Plugin:
    """An exec plugin: a script that records how it was called and prints what `answer` was given."""

    def __init__(self, kubernetes: FakeKubernetes, authority: Path) -> None:
        self.kubernetes, self.authority = kubernetes, authority
        self.script = kubernetes.folder / "plugin"
        self.write('echo "$@ $FLAVOUR $KUBERNETES_EXEC_INFO" >> "$(dirname "$0")/calls"\ncat "$(dirname "$0")/answer"')

    def write(self, body: str) -> None:
        self.script.write_text(f"#!/bin/sh\n{body}\n")
        self.script.chmod(0o755)

    def answer(self, version: str = V1, **status: str | None) -> None:
        answer = {"kind": "ExecCredential", "apiVersion": version, "status": status}
        (self.script.parent / "answer").write_text(json.dumps(answer))

    @property
    def calls(self) -> list[str]:
        path = self.script.parent / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def backend(self, cluster: dict[str, Any] | None = None, **entry: Any) -> KubeRay:
        trust = {"certificate-authority": str(self.authority / "cert.pem"), **(cluster or {})}
        entry = {"apiVersion": V1, "command": "./plugin", "args": None, "interactiveMode": "Never", **entry}
        self.kubernetes.kubeconfig(trust, exec=entry)
        return KubeRay.of(TARGET)


@pytest.fixture
def plugin(kubernetes: FakeKubernetes, authority: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.folder / "kubeconfig"))
    return Plugin(kubernetes, authority)


@pytest.mark.parametrize("version", [V1, f"{PROTOCOL}/v1beta1"])
def test_a_plugin_gets_arguments_and_cluster_and_is_run_once_for_a_token(
    plugin: Plugin, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin.answer(version, token=TOKEN, clientCertificateData=None)
    extensions = [{"name": f"{PROTOCOL}/exec", "extension": {"audience": "jobs"}}]
    env = [{"name": "FLAVOUR", "value": "sweet"}]
    # A relative command is found next to the kubeconfig, even if KUBECONFIG is a relative path.
    monkeypatch.chdir(plugin.kubernetes.folder)
    monkeypatch.setenv("KUBECONFIG", "kubeconfig")
    backend = plugin.backend(
        {"extensions": extensions}, apiVersion=version, args=["get", "token"], env=env, provideClusterInfo=True
    )
    assert not plugin.calls, "it is run only when needed"
    assert backend.find() == backend.find() == []
    (call,) = plugin.calls
    assert call.startswith("get token sweet {")
    info = json.loads(call.removeprefix("get token sweet "))
    assert (info["apiVersion"], info["spec"]["interactive"]) == (version, False)
    cluster = info["spec"]["cluster"]
    assert (cluster["server"], cluster["config"]) == (plugin.kubernetes.address, {"audience": "jobs"})
    assert base64.b64decode(cluster["certificate-authority-data"]) == (plugin.authority / "cert.pem").read_bytes()


def test_a_client_certificate_comes_from_a_plugin(plugin: Plugin) -> None:
    assert plugin.kubernetes.tls
    plugin.kubernetes.tls.verify_mode, plugin.kubernetes.token = ssl.CERT_REQUIRED, None
    pem = {name: (plugin.authority / f"{name}.pem").read_text() for name in ("cert", "key")}
    plugin.answer(clientCertificateData=pem["cert"], clientKeyData=pem["key"])
    assert plugin.backend().find() == []
    assert '"cluster"' not in plugin.calls[0]
    plugin.answer(clientCertificateData=pem["cert"], clientKeyData="no key")
    with pytest.raises(ConfigError, match="OpenSSL cannot load"):
        plugin.backend().find()


def test_a_token_is_renewed_before_it_expires_and_when_it_is_refused(plugin: Plugin) -> None:
    def expiring(seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    plugin.answer(token=TOKEN, expirationTimestamp=expiring(30))
    backend = plugin.backend()
    backend.find()
    plugin.kubernetes.token = "the-next-token"
    plugin.answer(token="the-next-token", expirationTimestamp=expiring(3600))
    backend.find()
    backend.find()
    assert len(plugin.calls) == 2
    assert [method for method, _ in plugin.kubernetes.requests] == ["GET"] * 3, "nothing was refused"
    plugin.kubernetes.token = "a-third-token"
    with pytest.raises(RefusedError, match=r"refuses the credentials \(401"):
        backend.find()
    plugin.answer(token="a-third-token")
    assert backend.find() == backend.find() == []
    assert len(plugin.calls) == 4


def test_a_missing_failing_or_hanging_plugin_is_an_error_with_a_cure_and_no_secret(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"exec plugin no-such-plugin: No such file.*Get it from the vendor\."):
        plugin.backend(command="no-such-plugin", installHint="Get it from the vendor.\n").find()
    env = [{"name": "CLIENT_SECRET", "value": "hunter-two"}]
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
    plugin.write(f"echo warning >&2\necho 'SSO session expired: hunter-two token=abc {token}' >&2\nexit 3")
    with pytest.raises(TransientJobError, match=r"exit code 3: SSO session expired: \*\*\* ") as failed:
        plugin.backend(env=env).find()
    assert not any(secret in str(failed.value) for secret in ("hunter-two", "abc", "eyJ", "c2ln", "warning"))
    plugin.write("exec sleep 30")
    monkeypatch.setattr(exec_plugin, "PLUGIN_S", 0.2)
    with pytest.raises(TransientJobError, match=r"did not end within 0\.2 s"):
        plugin.backend(args=["--secret", "hunter-two"]).find()


@pytest.mark.parametrize(
    ("version", "status"),
    [
        (f"{PROTOCOL}/v1beta1", {"token": "hunter-two"}),
        (V1, {}),
        (V1, {"clientCertificateData": "hunter-two"}),
        (V1, {"token": "hunter-two", "expirationTimestamp": "hunter-two"}),
    ],
)
def test_invalid_output_of_a_plugin_is_refused_and_not_quoted(
    plugin: Plugin, version: str, status: dict[str, str]
) -> None:
    plugin.answer(version, **status)
    with pytest.raises(ConfigError, match=r"exec plugin \./plugin") as refused:
        plugin.backend().find()
    assert "hunter-two" not in "".join(traceback.format_exception(refused.value))
