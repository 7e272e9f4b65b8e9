"""Ray Serve as the host of the API: one deployment whose replicas hold the application and the model.

In: `ServeSettings` as the arguments of a Serve application, in YAML or from Python. A replica is the whole
application: a call between two deployments costs more than the application's own work on a request. Its limits answer
overload with OpenAI's error object, so Serve's own limit, whose answer is plain text, lies above them.

    applications:
      - name: hanclip
        import_path: actors.serving.replica:application
        args: {model: {name: vit-b-16}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray import serve

from actors.machine.limits import usable_cpus
from actors.nodes.alive import own_node_id
from actors.serving.application import loaded_application
from actors.serving.haproxy import replace_error_page
from actors.serving.metrics import mirror
from pipeline.errors import ConfigError, DeviceLostError
from pipeline.serving.access.admission import gate_of
from pipeline.serving.app import Application
from pipeline.serving.log import adopt_loggers, log_as_json
from pipeline.serving.settings import ServeSettings
from pipeline.validation import validated

#: A model that cannot be loaded fails as often again.
_STARTS = 2
#: Requests on top of those in progress: bodies on their way, which hold no place, probes, and what our limits refuse.
_OTHERS = 2048
_ANYWHERE = "0.0.0.0"  # Serve listens where its own configuration says


class Replica:
    """One replica. Serve asks for its application once, and then for its health.

    Args:
        arguments: values of `ServeSettings`, already checked.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._settings = checked(arguments)

    def __serve_build_asgi_app__(self) -> Application:
        """Load the model; called by Serve in the replica's process."""
        log_as_json(with_access=False)  # Serve has its own
        settings = self._settings
        self._app = loaded_application(settings, gate_of(settings.access, _ANYWHERE), _cores())
        adopt_loggers()
        mirror(self._app.state.server.desk.metrics)
        replace_error_page(own_node_id())
        return self._app

    def check_health(self) -> None:
        """Raise an error if the device is lost; Serve then replaces the replica.

        Serve asks every ten seconds, so the gauges are set here: nobody reads `/metrics` of a replica.
        """
        replace_error_page(own_node_id())
        server = self._app.state.server
        server.embedding.report(server.desk.metrics)
        if server.embedding.is_lost:
            raise DeviceLostError("the device of this replica stopped computing")


def checked(arguments: Mapping[str, Any]) -> ServeSettings:
    """The settings.

    Raises:
        ConfigError: one is wrong, or belongs to Serve's own configuration.
    """
    settings = validated(ServeSettings, dict(arguments), "Wrong arguments of the Serve application")
    if others := settings.network.model_fields_set - {"grace_s"}:
        names = ", ".join(sorted(others))
        raise ConfigError(f"network: {names}: Ray Serve listens; set its http_options (host, port) instead.")
    return settings


def deployment(settings: ServeSettings) -> serve.Deployment:
    """The deployment; any of its options can be overridden where it is deployed."""
    return serve.deployment(serve.ingress()(Replica)).options(
        name="hanclip",
        max_ongoing_requests=settings.limits.max_requests + _OTHERS,
        graceful_shutdown_timeout_s=settings.network.grace_s,
        max_constructor_retry_count=_STARTS,
    )


def application(arguments: dict[str, Any]) -> serve.Application:
    """The Serve application, made where it is deployed, so that wrong arguments fail there and not in a replica.

    Raises:
        ConfigError: an argument is wrong, or there are neither keys nor `access: {no_auth: true}`.
    """
    settings = checked(arguments)
    gate_of(settings.access, _ANYWHERE)
    return deployment(settings).bind(arguments)


def _cores() -> float:
    """The CPUs that the replica asked for; those of its machine or container if it asked for none."""
    asked = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
    return asked if asked >= 1 else usable_cpus()
