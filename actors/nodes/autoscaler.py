"""Whether an autoscaler may add nodes to the connected cluster.

In: the reports of Ray's autoscaler, of both versions, on the head. Out: yes, no, or unknown. The types of nodes that it
may add are not in them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ray._private.worker import global_worker

from actors.nodes.alive import ANSWER_S

#: Ray's name for the type of a node that no autoscaler started.
_BY_HAND = re.compile(r"node_[0-9a-f]{56}")

#: Where the second version says that it runs; it writes no report of the first one's form.
_NAMESPACE, _SECOND_VERSION = b"__autoscaler", b"__autoscaler_v2_enabled"


def autoscales() -> bool | None:
    """Whether nodes may be added by an autoscaler; None if it has not reported yet, or if there is no report at all."""
    client: Any = global_worker.gcs_client
    raw = client.internal_kv_get(b"__autoscaling_status", None, timeout=ANSWER_S)
    types = _types(json.loads(raw) if raw else {})
    if types:
        return not all(_BY_HAND.fullmatch(name) for name in types)
    second = client.internal_kv_get(_SECOND_VERSION, _NAMESPACE, timeout=ANSWER_S)
    return True if second == b"1" else None


def _types(status: dict[str, Any]) -> set[str]:
    """The types of nodes that there are, as the autoscaler calls them."""
    report: dict[str, Any] = status.get("autoscaler_report") or {}
    return {*(report.get("active_nodes") or {}), *(report.get("idle_nodes") or {})}
