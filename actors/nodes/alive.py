"""Lists the nodes of the connected cluster, and which of them announced their end.

Ray calls a node that will leave *draining*: after `ray drain-node`, when an autoscaler removes it, or when the cloud
sends SIGTERM to its machine. Ray starts no new actors there; those that run stay until the node is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray._private.worker import global_worker
from ray.core.generated.gcs_pb2 import GcsNodeInfo

#: `ray.nodes()` and its like wait for a head that is gone for as long as Ray does, which then ends the process.
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive.

    Attributes:
        node_id: Ray's id, in hex.
        resources: what it has in all, by Ray's names.
        free: what no actor has taken.
        leaving: whether it announced its end.
        leaves_at_s: when it will be gone, in seconds since the epoch; None if that is unknown.
    """

    node_id: str
    resources: Mapping[str, float]
    free: Mapping[str, float] = field(default_factory=dict)
    leaving: bool = False
    leaves_at_s: float | None = None


def alive_nodes() -> list[Node]:
    """All nodes right now: three requests to the head, which take milliseconds; RayError if it does not answer."""
    # The worker's client: the one of ray.experimental.internal_kv can be reset while this process stays connected.
    client: Any = global_worker.gcs_client
    ends_ms: dict[str, int] = client.get_draining_nodes(timeout=ANSWER_S)
    usage = client.get_all_resource_usage(timeout=ANSWER_S).resource_usage_data.batch
    free = {one.node_id.hex(): dict(one.resources_available) for one in usage}
    nodes = {key.hex(): info for key, info in client.get_all_node_info(timeout=ANSWER_S).items()}
    return [
        _node(node_id, info.resources_total, free.get(node_id, {}), ends_ms.get(node_id))
        for node_id, info in nodes.items()
        if info.state == GcsNodeInfo.ALIVE
    ]


def own_node_id() -> str:
    """The id of the node on which this process runs. Starts a Ray where there is none."""
    return str(ray.get_runtime_context().get_node_id())


def _node(node_id: str, total: Mapping[str, float], free: Mapping[str, float], end_ms: int | None) -> Node:
    leaves_at_s = end_ms / 1000 if end_ms else None  # 0: no deadline
    return Node(node_id, dict(total), free, leaving=end_ms is not None, leaves_at_s=leaves_at_s)
