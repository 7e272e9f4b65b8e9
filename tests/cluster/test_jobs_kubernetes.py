"""Who we are to a Kubernetes API server: kubeconfigs and service accounts, over TLS, against a fake one."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.jobs.errors import RefusedError, UnreachableError
from flows.jobs.kuberay import api as kube_api
from flows.jobs.kuberay.backend import KubeRay
from flows.jobs.target import TargetConfig
from pipeline.errors import ConfigError
from tests.fixtures.servers.kubernetes import TOKEN, FakeKubernetes

TARGET = TargetConfig(backend="kuberay", namespace="jobs")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for 127.0.0.1 that is its own authority, and its key."""
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
    """An API server over TLS that lets in who has a certificate of the authority, and the token."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority / "cert.pem"))
    tls.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    server = FakeKubernetes(tls)
    server.start()
    yield server
    server.stop()


def test_a_kubeconfig_brings_authority_certificate_and_token(
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


@pytest.mark.parametrize("user", [{"exec": {"command": "aws"}}, {"auth-provider": {}}, {"username": "me"}])
def test_a_sign_in_that_is_not_carried_out_is_refused(user: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeKubernetes()
    server.address = "https://127.0.0.1:1"
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(**user)))
    with pytest.raises(ConfigError, match="client certificate"):
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
