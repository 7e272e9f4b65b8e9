"""A real S3 server (SeaweedFS) on loopback ports of its own, and a proxy before it that fails on request."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY, SECRET = "test-key", "test-secret-test-secret"
_PORTS = (*range(9), 10008)


def weed_binary() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@dataclass
class S3Server:
    """One process; data under `folder`. Stop it by its own pid."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }

    def start(self) -> None:
        self.port = self.port or _free_ports()
        data, run = self.folder / "data", self.folder / "run"
        data.mkdir(parents=True, exist_ok=True)
        run.mkdir(exist_ok=True)
        identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (run / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (run / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        with (self.folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(weed_binary()), *self._flags(data, run)],
                cwd=run,
                env={**os.environ, "HOME": str(run)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def bucket(self) -> str:
        """A new bucket, as `s3://name`."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        client(self.endpoint).create_bucket(Bucket=name)
        return f"s3://{name}"

    def _flags(self, data: Path, run: Path) -> list[str]:
        p = self.port
        return [
            *("-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-s3.port={p}", f"-s3.port.grpc={p + 1}", f"-s3.config={run}/s3.json"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-master.port={p + 2}", f"-master.port.grpc={p + 3}"),
            *(f"-volume.port={p + 4}", f"-volume.port.grpc={p + 5}", f"-filer.port={p + 6}"),
            *(f"-filer.port.grpc={p + 7}", f"-admin.port={p + 8}", f"-filer.localSocket={run}/filer.sock"),
            *(f"-s3.localSocket={run}/s3.sock", "-volume.max=2000", "-master.volumeSizeLimitMB=1024"),
            *("-master.telemetry=false", "-webdav=false", "-admin.ui=false"),
        ]

    def _wait(self) -> None:
        for _ in range(600):
            if self.process is None or self.process.poll() is not None:
                break
            if _status(self.endpoint) == 403 and b"DataNodes" in _body(f"http://127.0.0.1:{self.port + 2}/dir/status"):
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "weed.log").read_text()[-2000:])


def client(endpoint: str) -> Any:
    from botocore.session import Session

    return Session().create_client(
        "s3", "us-east-1", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )


def _free_ports() -> int:
    for base in range(21000 + os.getpid() % 500 * 20, 50000, 20):
        if all(_is_free(base + offset) for offset in _PORTS):
            return base
    raise RuntimeError("no block of free ports")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _body(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


@dataclass
class FaultyProxy:
    """Passes requests on unchanged, but plays one of `faults` for each request while there are any.

    Faults: an HTTP status; "stall" (no answer for `stall_s`), "drop" (closed before it is passed on), "lose" (passed
    on, but the answer is lost), "cut" (half of the body), "pass".
    """

    upstream: str
    stall_s: float = 3.0
    faults: deque[str | int] = field(default_factory=deque)
    requests: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        assert self.server
        return f"http://127.0.0.1:{self.server.server_port}"

    def start(self, port: int = 0) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy.handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> int:
        """Stop listening; gives the port, for a later start."""
        assert self.server
        port = self.server.server_port
        self.server.shutdown()
        self.server.server_close()
        return port

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.requests.append(f"{request.command} {request.path}")
        fault = self.faults.popleft() if self.faults else "pass"
        request.close_connection = fault != "pass"
        if isinstance(fault, int):
            _answer(request, fault, {}, b"try later")
        elif fault == "stall":
            time.sleep(self.stall_s)
        elif fault != "drop":
            status, headers, content = self._forward(request, body)
            if fault != "lose":
                _answer(request, status, headers, content, len(content) // 2 if fault == "cut" else None)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.upstream.removeprefix("http://"), timeout=60)
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        content = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return answer.status, headers, content


def _answer(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, cut: int | None = None
) -> None:
    request.send_response_only(status)
    headers.setdefault("content-length", str(len(content)))
    for name, value in headers.items():
        if name not in {"connection", "transfer-encoding"}:
            request.send_header(name, value)
    if request.close_connection:
        request.send_header("connection", "close")
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content[:cut])
