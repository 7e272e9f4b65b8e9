"""`hanclip serve`'s application on Ray Serve behind HAProxy, in one replica with all cores, on a Ray of its own.

python -m benchmarks.serve.cluster --model demo --threads 2

Prints the URL and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path


def main() -> None:
    """Serve until a signal arrives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        os.environ |= _environment(Path(folder))
        _serve(given.model, given.threads)


def _environment(folder: Path) -> dict[str, str]:
    """Ray's settings, as docs/serve.md has them. Serve reads them when it is imported."""
    return {
        "RAY_AUTH_MODE": "disabled",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response junk-response",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
    }


def _serve(model: str, cores: int) -> None:
    import ray  # reads the environment
    from ray import serve

    from actors.serving.replica import checked, deployment

    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    port = _free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    arguments = {"model": {"name": model}, "access": {"no_auth": True}}
    one = deployment(checked(arguments)).options(num_replicas=1, ray_actor_options={"num_cpus": cores})
    serve.run(one.bind(arguments), name="hanclip", route_prefix="/")
    print(f"http://127.0.0.1:{port}", flush=True)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())  # after Ray has set its own
    stopped.wait()
    serve.delete("hanclip")
    ray.shutdown()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
