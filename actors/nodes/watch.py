"""Looks at the nodes of the connected cluster again and again, in a thread.

A run feeds its actors in one loop, which must not wait for a head that does not answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ray.exceptions import RayError

from actors.nodes.alive import Node, alive_nodes
from actors.nodes.autoscaler import autoscales

logger = logging.getLogger(__name__)

EVERY_S = 1.0
#: The one node of a local Ray stays; only what is free on it changes.
LOCAL_EVERY_S = 10.0
_END_S = 1.0


@dataclass(frozen=True, slots=True)
class ClusterState:
    """A cluster at one moment.

    Attributes:
        nodes: those that are alive.
        autoscaled: whether an autoscaler adds nodes for actors that find no place.
    """

    nodes: tuple[Node, ...]
    autoscaled: bool = False

    @property
    def staying(self) -> tuple[Node, ...]:
        """The nodes that have not announced their end."""
        return tuple(node for node in self.nodes if not node.leaving)

    @property
    def leaving(self) -> tuple[Node, ...]:
        """The nodes that have."""
        return tuple(node for node in self.nodes if node.leaving)


def cluster_state() -> ClusterState:
    """The cluster right now. Raises RayError if its head does not answer."""
    return ClusterState(tuple(alive_nodes()), autoscales() is True)


class NodeWatch:
    """Keeps the latest state of a cluster.

    Args:
        look: returns the state, or raises a RayError.
    """

    def __init__(self, look: Callable[[], ClusterState] = cluster_state) -> None:
        self._look = look
        self._latest: ClusterState | None = None
        self._ended = threading.Event()

    @property
    def latest(self) -> ClusterState | None:
        """The cluster as it was when its head answered last; None before that."""
        return self._latest

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def watch(self, every_s: float) -> None:
        """Look again and again, until `end`."""
        while not self._ended.is_set():
            try:
                self._latest = self._look()
            except RayError as error:  # The head's own watch ends the run if that lasts.
                logger.debug("The nodes of Ray are unknown: %s", error)
            self._ended.wait(every_s)


@contextmanager
def nodes_watched(every_s: float = EVERY_S) -> Iterator[NodeWatch]:
    """Watch the nodes of the connected cluster while the block runs: each look is five requests to its head."""
    watch = NodeWatch()
    thread = threading.Thread(target=watch.watch, args=(every_s,), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.end()
        thread.join(_END_S)
