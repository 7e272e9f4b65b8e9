"""Which installation the smoke test checks: what the runner of the flows has in its environment."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipeline import storage
from pipeline.errors import ConfigError

_NEEDED = {
    "PREFECT_API_URL": "the Prefect server, such as http://prefect:4200/api",
    "HANCLIP_RAY_ADDRESS": "the dashboard of the Ray cluster, such as http://ray-head:8265",
    "HANCLIP_OUT": "the dataset of the deployments, such as s3://catalog/embeddings",
}


@dataclass(frozen=True, slots=True)
class Installation:
    """Addresses of the parts.

    Attributes:
        ray_address: Ray's dashboard.
        folder: a new folder next to the dataset, in the same bucket.
        deployment: the deployment that is run, `FLOW/NAME` with the parameters of the flow `embed`.
        timeout_s: how long the flow run may take, including the start of workers.
    """

    ray_address: str
    folder: str
    deployment: str
    timeout_s: float

    @classmethod
    def of(cls, environment: Mapping[str, str], deployment: str, timeout_s: float) -> Self:
        """The installation that `environment` describes.

        Raises:
            ConfigError: a variable is missing.
        """
        missing = [f"{name} ({what})" for name, what in _NEEDED.items() if not environment.get(name)]
        if missing:
            raise ConfigError(
                f"Not set: {'; '.join(missing)}. Run this where the flows run, for example with `docker compose exec"
                " runner` or `kubectl exec deploy/hanclip-runner --`."
            )
        folder = f"{storage.normalise(environment['HANCLIP_OUT']).rstrip('/')}-smoke-{secrets.token_hex(4)}"
        return cls(environment["HANCLIP_RAY_ADDRESS"].rstrip("/"), folder, deployment, timeout_s)
