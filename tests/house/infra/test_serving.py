"""Test the files of the online API: the configuration by Serve's schema, its arguments by ours, sizes and times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
import yaml
from ray import serve
from ray.serve import schema

from actors.serving import replica
from flows.cli.app import app
from flows.options.serving import SERVE
from pipeline.serving.access.keys import VARIABLE
from pipeline.serving.settings import ServeSettings
from tests.fixtures.infra import INFRA, cluster_spec, compose, documents, pod_templates

SERVICE: dict[str, Any] = yaml.safe_load((INFRA / "kuberay/components/serving/rayservice.yaml").read_text())["spec"]
CONFIG: dict[str, Any] = yaml.safe_load(SERVICE["serveConfigV2"])
WORKERS: dict[str, Any] = SERVICE["rayClusterConfig"]["workerGroupSpecs"][0]
POD: dict[str, Any] = WORKERS["template"]["spec"]


def settings_of(name: str) -> dict[str, str]:
    """The data of a ConfigMap, or of a Secret of the example."""
    kinds = {"ConfigMap": "data", "Secret": "stringData"}
    named = [document for _, document in documents() if document["metadata"]["name"] == name]
    (data,) = [document[kinds[document["kind"]]] for document in named if document["kind"] in kinds]
    return dict(data)


def application() -> tuple[dict[str, Any], dict[str, Any], ServeSettings]:
    """The only application, its only deployment, and its arguments as our settings."""
    (found,) = CONFIG["applications"]
    (deployment,) = found["deployments"]
    return found, deployment, replica.checked(found["args"])


def test_serve_and_hanclip_accept_the_configuration() -> None:
    schema.ServeDeploySchema.model_validate(CONFIG)
    found, deployment, settings = application()
    # Serve's schema accepts unknown fields.
    assert set(CONFIG) <= set(schema.ServeDeploySchema.model_fields)
    assert set(CONFIG["http_options"]) <= set(schema.HTTPOptionsSchema.model_fields)
    assert set(found) <= set(schema.ServeApplicationSchema.model_fields)
    assert set(deployment) <= set(schema.DeploymentSchema.model_fields)
    assert set(deployment["autoscaling_config"]) <= set(serve.config.AutoscalingConfig.model_fields)
    module, _, name = found["import_path"].partition(":")
    assert (module, getattr(replica, name)) == (replica.__name__, replica.application)
    assert deployment["name"] == replica.deployment(settings).name
    assert deployment["autoscaling_config"]["target_ongoing_requests"] < settings.limits.max_requests


def test_the_configuration_without_gpus_differs_in_nothing_else() -> None:
    patches = yaml.safe_load((INFRA / "kuberay/components/cpu-only/kustomization.yaml").read_text())["patches"]
    (patch,) = [one["patch"] for one in patches if one["target"]["kind"] == "RayService"]
    (changed,) = [step["value"] for step in yaml.safe_load(patch) if step["path"] == "/spec/serveConfigV2"]
    (text,) = re.findall(r"ray_actor_options: {num_gpus: 1, .*", SERVICE["serveConfigV2"])
    without = yaml.safe_load(SERVICE["serveConfigV2"].replace(text, text.replace("num_gpus: 1, ", "")))
    assert yaml.safe_load(changed) == without


def test_a_worker_holds_a_replica_and_the_group_all_of_them() -> None:
    _, deployment, _ = application()
    asked, (container,) = deployment["ray_actor_options"], POD["containers"]
    has = container["resources"]["requests"]
    assert asked["num_gpus"] == int(has["nvidia.com/gpu"])
    assert has["cpu"] == container["resources"]["limits"]["cpu"]
    assert int(has["cpu"]) / 2 < asked["num_cpus"] < int(has["cpu"])
    assert deployment["autoscaling_config"]["max_replicas"] == WORKERS["maxReplicas"]
    assert deployment["autoscaling_config"]["min_replicas"] == WORKERS["minReplicas"]


def test_a_worker_leaves_the_service_before_it_drains_and_drains_before_it_ends() -> None:
    _, _, settings = application()
    (container,) = POD["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    drain_s = int(settings_of("hanclip-settings")["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert settings.network.grace_s < drain_s
    assert int(seconds) + drain_s < POD["terminationGracePeriodSeconds"]
    assert settings.limits.request_timeout_s < CONFIG["http_options"]["request_timeout_s"]
    assert settings.limits.request_timeout_s < SERVICE["rayClusterDeletionDelaySeconds"]


def test_every_node_has_the_keys_the_proxy_and_the_port_and_the_head_has_no_requests() -> None:
    assert SERVICE["excludeHeadPodFromServeSvc"]
    assert VARIABLE in settings_of("hanclip-api")
    assert serve.__file__
    known = (Path(serve.__file__).parent / "_private/constants.py").read_text()
    proxy = settings_of("hanclip-api-settings")
    assert not [name for name in proxy if f'"{name}"' not in known]
    assert {"RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_HAPROXY_RETRY_ON"} <= set(proxy)
    for template in pod_templates({"spec": SERVICE}):
        (container,) = template["spec"]["containers"]
        assert {"configMapRef": {"name": "hanclip-api-settings"}} in container["envFrom"]
        assert {"secretRef": {"name": "hanclip-api"}} in container["envFrom"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["serve"] == CONFIG["http_options"]["port"]


def test_strangers_reach_the_port_of_the_api_alone() -> None:
    labels = WORKERS["template"]["metadata"]["labels"]
    policies = [document["spec"] for _, document in documents() if document["kind"] == "NetworkPolicy"]
    (own,) = [policy for policy in policies if policy["podSelector"]["matchLabels"].items() <= labels.items()]
    assert [rule["ports"] for rule in own["ingress"]] == [[{"port": "serve", "protocol": "TCP"}]]
    # Every other port is left to this one, which names who may.
    (ray,) = [policy for policy in policies if policy["podSelector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}]
    assert all(peer["podSelector"]["matchLabels"] for rule in ray["ingress"] for peer in rule["from"])


def test_both_clusters_have_names_and_settings_of_one_kind() -> None:
    (cluster,) = [document for _, document in documents() if document["kind"] == "RayCluster"]
    (service,) = [document for _, document in documents() if document["kind"] == "RayService"]
    # KubeRay names the Service of a head after its cluster or service.
    assert cluster["metadata"]["name"] != service["metadata"]["name"]
    ours, theirs = cluster_spec(service), cluster_spec(cluster)
    for name in ("rayVersion", "authOptions", "autoscalerOptions"):
        assert ours[name] == theirs[name], name
    assert ours["headGroupSpec"]["rayStartParams"] == theirs["headGroupSpec"]["rayStartParams"]


def test_compose_gives_the_server_time_to_end() -> None:
    service = compose()["services"]["serve"]
    program, *arguments = service["command"][:2]
    assert (program, arguments) == ("hanclip", ["serve"])
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    settings = SERVE.parsed(command.make_context("serve", service["command"][2:]).params)
    assert f"127.0.0.1:8000:{settings.network.port}" in service["ports"]
    assert f":{settings.network.port}/readyz" in service["healthcheck"]["test"][-1]
    assert settings.network.drain_s + settings.network.grace_s < int(service["stop_grace_period"].removesuffix("s"))
    assert service["environment"][VARIABLE] == f"${{{VARIABLE}:-}}"
