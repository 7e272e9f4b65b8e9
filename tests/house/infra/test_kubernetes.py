"""Test the Kubernetes manifests: published schemas, references between them, and what kustomize builds.

Schemas come from the package kubernetes-validate; without it its test is skipped. KubeRay publishes no schema:
data/schemas/kuberay.json describes the fields in use.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.fixtures.infra import INFRA, PINNED, SECRET, cluster_spec, documents, pod_templates
from tests.fixtures.places import DATA, ROOT

#: In the order in which the kustomization lists them.
COMPONENTS = re.findall(r"^#  - components/(\S+)", (INFRA / "kuberay/kustomization.yaml").read_text(), re.MULTILINE)
#: Custom resources with schemas that no package publishes.
OPERATORS = {"ray.io/v1", "monitoring.coreos.com/v1"}
KUBERNETES = "1.34"


def test_kubernetes_manifests_are_valid() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for _path, document in documents():
        if document["apiVersion"] not in OPERATORS:
            kubernetes.validate(document, KUBERNETES, strict=True)
        for template in pod_templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": template}
            kubernetes.validate(pod, KUBERNETES, strict=True)


def test_ray_manifests_are_valid() -> None:
    schema = json.loads((DATA / "schemas/kuberay.json").read_text())
    found = [(path, document) for path, document in documents() if document["apiVersion"] == "ray.io/v1"]
    groups_of = {"rayjob-cpu.yaml": {"cpu"}, "rayservice.yaml": {"gpu"}}
    assert {document["kind"] for _, document in found} == {"RayCluster", "RayJob", "RayService"}
    for path, document in found:
        jsonschema.validate(document, schema)
        spec = cluster_spec(document)
        assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
        assert spec["authOptions"]["mode"] == "token"
        groups = {group["groupName"] for group in spec["workerGroupSpecs"]}
        assert groups == groups_of.get(path.name, {"cpu", "gpu"})


def test_the_cpu_template_equals_the_gpu_template_without_gpus() -> None:
    with_gpus, without = (
        yaml.safe_load((INFRA / "kuberay" / name).read_text()) for name in ("rayjob.yaml", "rayjob-cpu.yaml")
    )
    groups = with_gpus["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    groups[:] = [group for group in groups if group["groupName"] != "gpu"]
    assert with_gpus == without


def test_pods_run_as_non_root_and_reference_secrets_by_name() -> None:
    secrets = {d["metadata"]["name"]: set(d["stringData"]) for _, d in documents() if d["kind"] == "Secret"}
    config_maps = {d["metadata"]["name"] for _, d in documents() if d["kind"] == "ConfigMap"}
    accounts = {d["metadata"]["name"] for _, d in documents() if d["kind"] == "ServiceAccount"}
    for path, document in documents():
        for template in pod_templates(document):
            pod = template["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            if account := pod.get("serviceAccountName"):
                assert account in accounts, f"{path.name} names the account {account}"
            else:
                assert pod["automountServiceAccountToken"] is False, "a pod without an account of ours gets no token"
            for container in [*pod["containers"], *pod.get("initContainers", [])]:
                assert not container["securityContext"]["allowPrivilegeEscalation"]
                assert {"requests", "limits"} <= set(container["resources"]), container["name"]
                for name in _secret_names(container):
                    assert name in secrets, f"{path.name} reads {name}"
                for name in _config_maps(container):
                    assert name in config_maps, f"{path.name} reads {name}"
                for name, key in _secret_keys(container):
                    assert key in secrets[name], f"{path.name} reads {key} of {name}"
                for variable in container.get("env", []):
                    assert not SECRET.search(variable["name"].removesuffix("_MODE")) or "valueFrom" in variable


def test_the_autoscaler_meets_the_namespace_security_policy() -> None:
    specs = [cluster_spec(document) for _, document in documents()]
    scaling = [spec for spec in specs if "autoscalerOptions" in spec]
    assert len(scaling) == 2
    for spec in scaling:
        assert spec["enableInTreeAutoscaling"]
        assert spec["autoscalerOptions"]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_storage_keys_are_optional() -> None:
    """With workload identity there is no Secret with keys."""
    for path, document in documents():
        for template in pod_templates(document):
            for container in template["spec"]["containers"]:
                for source in container.get("envFrom", []):
                    if source.get("secretRef", {}).get("name") in ("hanclip-storage", "hanclip-hub"):
                        assert source["secretRef"]["optional"], path.name


def test_selectors_and_ports_exist() -> None:
    pods = [template for _, document in documents() for template in pod_templates(document)]
    labels = [template.get("metadata", {}).get("labels", {}) for template in pods]
    ports = [{p["name"] for c in template["spec"]["containers"] for p in c.get("ports", [])} for template in pods]
    for path, document in documents():
        if document["kind"] == "Service":
            chosen = document["spec"]["selector"]
            (names,) = [p for p, own in zip(ports, labels, strict=True) if chosen.items() <= own.items()]
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= names, path.name
        elif document["kind"] == "NetworkPolicy":
            chosen = document["spec"]["podSelector"]["matchLabels"]
            # KubeRay adds its own labels to Ray's pods.
            assert "ray.io/is-ray-node" in chosen or [own for own in labels if chosen.items() <= own.items()], path.name


def test_ray_pods_mount_the_model_cache() -> None:
    (settings,) = [d["data"] for _, d in documents() if d["metadata"]["name"] == "hanclip-settings"]
    for _, document in documents():
        for template in pod_templates(document) if document["apiVersion"] == "ray.io/v1" else ():
            (container,) = template["spec"]["containers"]
            (mount,) = container["volumeMounts"]
            assert settings["HF_HOME"].startswith(f"{mount['mountPath']}/")
            assert settings["HANCLIP_CACHE"].startswith(f"{mount['mountPath']}/")
            assert mount["name"] in {volume["name"] for volume in template["spec"]["volumes"]}


def test_nothing_blocks_a_drain() -> None:
    """A disruption budget that forbids to evict a single pod blocks `kubectl drain`."""
    assert not [document for _, document in documents() if document["kind"] == "PodDisruptionBudget"]


def test_the_operator_gets_the_same_alert_rules() -> None:
    (rules,) = [document["spec"] for _, document in documents() if document["kind"] == "PrometheusRule"]
    assert rules == yaml.safe_load((INFRA / "prometheus/alerts.yml").read_text())


def test_each_component_is_listed() -> None:
    assert sorted(COMPONENTS) == sorted(path.name for path in INFRA.glob("kuberay/components/*"))


@pytest.mark.parametrize("components", [[], *([name] for name in COMPONENTS), COMPONENTS], ids="+".join)
def test_kustomize_builds_the_manifests(components: list[str], tmp_path: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("needs kubectl")
    copy = shutil.copytree(INFRA / "kuberay", tmp_path / "kuberay")
    chosen = [f"components/{name}" for name in components]
    file = copy / "kustomization.yaml"
    file.write_text(file.read_text().replace("components: []", f"components: [{', '.join(chosen)}]"))
    done = subprocess.run([program, "kustomize", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = [document for document in yaml.safe_load_all(done.stdout) if document["kind"] != "ConfigMap"]
    images = [c["image"] for d in built for t in pod_templates(d) for c in t["spec"]["containers"]]
    assert images
    assert all(PINNED.match(image) or image.startswith("registry.example.com/hanclip:") for image in images)
    (cluster,) = [document for document in built if document["kind"] == "RayCluster"]
    groups = [group["groupName"] for group in cluster["spec"]["workerGroupSpecs"]]
    assert groups == (["cpu"] if "cpu-only" in components else ["cpu", "gpu"])
    served = [cluster_spec(document) for document in built if document["kind"] == "RayService"]
    assert len(served) == ("serving" in components)
    for spec in served:
        (workers,) = spec["workerGroupSpecs"]
        assert workers["groupName"] == ("cpu" if "cpu-only" in components else "gpu")
        assert ("nvidia.com/gpu" in str(workers)) == ("cpu-only" not in components)


def test_the_runner_role_allows_exactly_what_the_kuberay_backend_needs() -> None:
    (role,) = [d for _, d in documents() if d["kind"] == "Role"]
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "list", "delete"]}
    ]


def _secret_names(container: dict[str, Any]) -> set[str]:
    whole = {source["secretRef"]["name"] for source in container.get("envFrom", []) if "secretRef" in source}
    return whole | {name for name, _ in _secret_keys(container)}


def _secret_keys(container: dict[str, Any]) -> set[tuple[str, str]]:
    found = [v["valueFrom"]["secretKeyRef"] for v in container.get("env", []) if "valueFrom" in v]
    return {(reference["name"], reference["key"]) for reference in found}


def _config_maps(container: dict[str, Any]) -> set[str]:
    return {source["configMapRef"]["name"] for source in container.get("envFrom", []) if "configMapRef" in source}
