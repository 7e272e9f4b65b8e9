"""Lists the nodes of the connected cluster, and which of them announced their end.

Ray calls a node that will leave *draining*: after `ray drain-node`, when an autoscaler removes it, or when the cloud
sends SIGTERM to its machine. Ray starts no new actors there; those that run stay until the node is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ray
from ray._private.worker import global_worker

_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive.

    Attributes:
        node_id: Ray's id, in hex.
        resources: what it has in all, by Ray's names.
        leaving: whether it announced its end.
        leaves_at_s: when it will be gone, in seconds since the epoch; None if that is unknown.
    """

    node_id: str
    resources: Mapping[str, float]
    leaving: bool = False
    leaves_at_s: float | None = None


def alive_nodes() -> list[Node]:
    """All nodes right now; two requests to the head, about a millisecond each."""
    # The worker's client: the one of ray.experimental.internal_kv can be reset while this process stays connected.
    ends_ms: dict[str, int] = global_worker.gcs_client.get_draining_nodes(timeout=_ANSWER_S)
    return [_node(str(node["NodeID"]), node["Resources"], ends_ms) for node in ray.nodes() if node["Alive"]]


def free_by_node() -> dict[str, Mapping[str, float]]:
    """What no actor has taken, by node id."""
    free: dict[str, Mapping[str, float]] = ray._private.state.available_resources_per_node()
    return free


def _node(node_id: str, resources: Mapping[str, float], ends_ms: Mapping[str, int]) -> Node:
    end_ms = ends_ms.get(node_id)
    return Node(node_id, resources, end_ms is not None, end_ms / 1000 if end_ms else None)  # 0: no deadline
