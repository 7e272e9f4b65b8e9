"""A Kubernetes API server with RayJobs, and the operator behind it: as much of both as `flows.jobs.kuberay` meets.

Written down from the API conventions and KubeRay's RayJob type, and never compared with a real cluster: bearer tokens
(401), names that are taken (409), unknown ones (404), resourceVersion, equality label selectors, a deletionTimestamp
that stays for as long as the operator holds its finalizer, and jobStatus / jobDeploymentStatus as the operator sets
them. The "cluster" of a RayJob is a child process that runs its entrypoint; the same server is its dashboard.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a-service-account-token"
_RAYJOBS = re.compile(r"/apis/ray\.io/v1/namespaces/([^/]+)/rayjobs(?:/([^/]+))?")
_LOGS = re.compile(r"/api/jobs/([^/]+)(/logs|/stop)?")
#: How long the finalizer keeps a deleted RayJob.
_FINALIZER_S = 0.3


class FakeKubernetes:
    """`start` it, point a kubeconfig to `address`, `stop` it.

    Attributes:
        jobs: bodies of the RayJobs by name.
        tls: how to speak https and whom to let in, or None for http.
        hold: while set, the operator leaves new RayJobs as they are (no room in the cluster).
        dashboards: whether the dashboards of the clusters can be reached.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.folder = Path(tempfile.mkdtemp(prefix="fk-"))
        self.jobs: dict[str, dict[str, Any]] = {}
        self.hold = False
        self.dashboards = True
        self.requests: list[tuple[str, str]] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._version = 0
        self._lock = threading.RLock()
        self._over = threading.Event()

    def start(self) -> None:
        """Serve, and operate."""
        kubernetes = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                kubernetes.requests.append((self.command, self.path))
                code, value = kubernetes.handle(self.command, self.path, self.headers, body)
                data = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._operator = threading.Thread(target=self._operate, daemon=True)
        self._operator.start()

    def stop(self) -> None:
        """End the server, the operator, and every process of a job."""
        self._over.set()
        self._operator.join()
        self._server.shutdown()
        self._server.server_close()
        for process in self._processes.values():
            process.kill()
            process.wait()

    def kubeconfig(self, cluster: Mapping[str, object] | None = None, **user: object) -> Path:
        """A kubeconfig with this on its cluster and this user; with the right token unless told otherwise."""
        path = self.folder / "kubeconfig"
        tree = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "fake", "user": "me"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.address, **(cluster or {})}}],
            "users": [{"name": "me", "user": user or {"token": TOKEN}}],
        }
        path.write_text(json.dumps(tree))
        return path

    def handle(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """Answer one request."""
        path, query = unquote(urlsplit(url).path), parse_qs(urlsplit(url).query)
        with self._lock:
            if match := _LOGS.fullmatch(path):
                return self._dashboard(method, match[1], match[2])
            if headers.get("Authorization") != f"Bearer {TOKEN}":
                return _failure(401, "Unauthorized")
            match = _RAYJOBS.fullmatch(path)
            if not match:
                return _failure(404, "NotFound")
            namespace, name = match[1], match[2]
            if method == "POST":
                return self._create(namespace, body)
            if name is None:
                return self._list(namespace, query.get("labelSelector", [""])[0])
            if name not in self.jobs or self.jobs[name]["metadata"]["namespace"] != namespace:
                return _failure(404, "NotFound")
            return self._delete(name) if method == "DELETE" else (200, self.jobs[name])

    def _create(self, namespace: str, body: dict[str, Any]) -> tuple[int, Any]:
        metadata, spec = body["metadata"], body["spec"]
        if metadata["name"] in self.jobs:
            return _failure(409, "AlreadyExists")
        named = re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", metadata["name"])
        labels = all(re.fullmatch(r"([A-Za-z0-9][\w.-]{0,62})?", value) for value in metadata["labels"].values())
        if not named or not labels or metadata["namespace"] != namespace or spec["jobId"] != metadata["name"]:
            return _failure(422, "Invalid")
        metadata |= {"creationTimestamp": _now(), "uid": os.urandom(8).hex(), "finalizers": ["ray.io/rayjob-finalizer"]}
        self.jobs[metadata["name"]] = body
        self._touch(body)
        return 201, body

    def _list(self, namespace: str, selector: str) -> tuple[int, Any]:
        wanted = dict(term.split("=", 1) for term in selector.split(",") if term)
        items = [
            job
            for job in self.jobs.values()
            if job["metadata"]["namespace"] == namespace and wanted.items() <= job["metadata"]["labels"].items()
        ]
        return 200, {"kind": "RayJobList", "metadata": {"resourceVersion": str(self._version)}, "items": items}

    def _delete(self, name: str) -> tuple[int, Any]:
        self.jobs[name]["metadata"].setdefault("deletionTimestamp", _now())
        self._touch(self.jobs[name])
        return 200, self.jobs[name]

    def _dashboard(self, method: str, name: str, verb: str | None) -> tuple[int, Any]:
        if not self.dashboards or name not in self._processes:
            return 404, f"Job {name} does not exist"
        status = self.jobs[name].get("status", {}) if name in self.jobs else {}
        if verb == "/logs":
            return 200, {"logs": (self.folder / f"{name}.log").read_text()}
        if method == "POST":
            self._processes[name].send_signal(signal.SIGTERM)
            return 200, {"stopped": True}
        return 200, {"submission_id": name, "status": status.get("jobStatus") or "PENDING"}

    def _operate(self) -> None:
        while not self._over.wait(0.05):
            with self._lock:
                for name, job in list(self.jobs.items()):
                    self._reconcile(name, job)

    def _reconcile(self, name: str, job: dict[str, Any]) -> None:
        process, status = self._processes.get(name), job.setdefault("status", {})
        if job["metadata"].get("deletionTimestamp"):
            self._finalize(name, process)
        elif process is None and not self.hold:
            self._begin(name, job)
        elif process is not None and process.poll() is not None and not status.get("endTime"):
            ended = "STOPPED" if process.returncode in (143, -15) else "FAILED" if process.returncode else "SUCCEEDED"
            status |= {"jobStatus": ended, "endTime": _now()}
            status |= {"jobDeploymentStatus": "Failed" if ended == "FAILED" else "Complete"}
            status |= {"reason": "AppFailed"} if ended == "FAILED" else {}
            self._touch(job)

    def _begin(self, name: str, job: dict[str, Any]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = shlex.split(job["spec"]["entrypoint"])
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        job["status"] |= {
            "jobId": name,
            "jobStatus": "RUNNING",
            "jobDeploymentStatus": "Running",
            "startTime": _now(),
            "dashboardURL": self.address.removeprefix("http://"),
        }
        self._touch(job)

    def _finalize(self, name: str, process: subprocess.Popen[bytes] | None) -> None:
        deleted = datetime.fromisoformat(self.jobs[name]["metadata"]["deletionTimestamp"])
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
        elif time.time() - deleted.timestamp() > _FINALIZER_S:
            del self.jobs[name]

    def _touch(self, job: dict[str, Any]) -> None:
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)


def _failure(code: int, reason: str) -> tuple[int, Any]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
