"""Runs the exec plugin of a kubeconfig, such as `aws eks get-token` or `gke-gcloud-auth-plugin`.

In: the `exec` entry of a kubeconfig user, and the cluster to sign in to. Out: a token, a client certificate or both, by
the protocol client.authentication.k8s.io v1 and v1beta1. Credentials are not stored and appear in no message.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from flows.jobs.errors import TransientJobError
from pipeline.errors import ConfigError
from pipeline.validation import validated

#: The common plugins take seconds; one that hangs must not hang its caller.
PLUGIN_S = 60.0
_CHECK = "Check with: kubectl auth whoami"
_MESSAGE_CHARS = 300
_SECRET_NAME = re.compile("token|secret|password|key|credential", re.IGNORECASE)
_SECRET = re.compile(r"bearer \S+|(token|secret|password|key)=\S+|[\w+=~-]{32,}(\.[\w+=~-]+)*", re.IGNORECASE)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, alias_generator=to_camel)


class _Variable(_Model):
    name: str
    value: str


class ExecEntry(_Model):
    """The `exec` entry of a kubeconfig user. Unknown fields are ignored, as kubectl does."""

    api_version: Literal["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"]
    command: str = Field(min_length=1)
    args: tuple[str, ...] | None = None
    env: tuple[_Variable, ...] | None = None
    install_hint: str | None = None
    provide_cluster_info: bool | None = None
    interactive_mode: Literal["Never", "IfAvailable"] | None = None


class ExecCredential(_Model):
    """The `status` of a plugin's output; certificate and key are PEM."""

    token: str | None = Field(default=None, repr=False)
    client_certificate_data: str | None = Field(default=None, repr=False)
    client_key_data: str | None = Field(default=None, repr=False)
    expiration_timestamp: AwareDatetime | None = None

    @property
    def pem(self) -> bytes:
        """The certificate and its key; empty without them."""
        return f"{self.client_certificate_data or ''}\n{self.client_key_data or ''}".strip().encode()

    @property
    def complete(self) -> bool:
        """Whether it holds a token or a certificate, and no certificate without its key."""
        paired = bool(self.client_certificate_data) == bool(self.client_key_data)
        return paired and bool(self.token or self.client_certificate_data)


class _Output(_Model):
    kind: Literal["ExecCredential"]
    api_version: str
    status: ExecCredential


class ExecPlugin:
    """One plugin. `cluster` is what it is given if it asks for the cluster's address and authority.

    Raises:
        ConfigError: the entry is incomplete, of an unknown version, or for terminals only.
    """

    def __init__(self, entry: Mapping[str, Any], cluster: Mapping[str, Any], kubeconfig: Path) -> None:
        self._entry = validated(
            ExecEntry,
            entry,
            f"The exec plugin of {kubeconfig} cannot be run",
            cure="Write the kubeconfig again, for example with aws eks update-kubeconfig or gcloud container clusters"
            " get-credentials.",
        )
        # A path is relative to the kubeconfig; a bare name is searched for in PATH.
        command = self._entry.command
        self._command = str(kubeconfig.parent.absolute() / command) if os.sep in command else command
        spec = {"interactive": False} | ({"cluster": cluster} if self._entry.provide_cluster_info else {})
        info = {"apiVersion": self._entry.api_version, "kind": "ExecCredential", "spec": spec}
        given = {variable.name: variable.value for variable in self._entry.env or ()}
        self._env = os.environ | given | {"KUBERNETES_EXEC_INFO": json.dumps(info)}

    def run(self) -> ExecCredential:
        """Fetch credentials.

        Raises:
            ConfigError: the plugin is not installed, or its output is no credential.
            TransientJobError: it failed or did not end; once the user has signed in, it may succeed.
        """
        done = self._run()
        if done.returncode:
            raise TransientJobError(
                f"The exec plugin {self._entry.command} failed with exit code {done.returncode}:"
                f" {self._last_line(done.stderr)} Sign in again. {_CHECK}"
            )
        summary = f"The output of the exec plugin {self._entry.command} is not valid"
        output = validated(_Output, done.stdout, summary, cure=_CHECK)
        if output.api_version != self._entry.api_version or not output.status.complete:
            raise ConfigError(
                f"The exec plugin {self._entry.command} returned neither a token nor a certificate with its key in"
                f" version {self._entry.api_version}. {_CHECK}"
            )
        return output.status

    def _run(self) -> subprocess.CompletedProcess[bytes]:
        name, command = self._entry.command, [self._command, *(self._entry.args or ())]
        try:
            return subprocess.run(
                command, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, timeout=PLUGIN_S, check=False
            )
        except subprocess.TimeoutExpired:
            # Not chained: the cause quotes the arguments, which may be secret.
            raise TransientJobError(f"The exec plugin {name} did not end within {PLUGIN_S:g} s. {_CHECK}") from None
        except OSError as error:
            hint = (self._entry.install_hint or "Install it, or write its full path into the kubeconfig.").strip()
            raise ConfigError(f"Cannot run the exec plugin {name}: {error.strerror}. {hint}") from error

    def _last_line(self, stderr: bytes) -> str:
        """The last line that the plugin printed to stderr, without secrets."""
        lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        for name, value in self._env.items():
            if len(value) >= 8 and _SECRET_NAME.search(name):
                last = last.replace(value, "***")
        last = _SECRET.sub("***", last)[:_MESSAGE_CHARS]
        return last if last.endswith((".", "!", "?")) else f"{last}."
