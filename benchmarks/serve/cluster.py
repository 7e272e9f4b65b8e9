"""`hanclip serve`'s application on Ray Serve behind HAProxy, in one replica with all cores, on a Ray of its own.

python -m benchmarks.serve.cluster --model demo --threads 2

Prints the URL and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
from pathlib import Path

from tests.fixtures.processes import free_port
from tests.fixtures.toy_serve import serve_environment


def main() -> None:
    """Serve until a signal arrives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        os.environ |= serve_environment(Path(folder))
        _serve(given.model, given.threads)


def _serve(model: str, cores: int) -> None:
    import ray  # reads the environment
    from ray import serve

    from actors.serving.replica import checked, deployment

    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    port = free_port()
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


if __name__ == "__main__":
    main()
