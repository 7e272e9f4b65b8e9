"""Moves results away from nodes that leave, before they are lost with them.

In: the open shards. Their embedded chunks wait in Ray's object store until the shard is complete, some of them only on
the node that made them; a shard that loses one starts over. Decoded chunks are not moved: embedders take them within
seconds, and one that is lost is decoded again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental import get_local_object_locations

from actors.scheduler.chunks import OpenShard

logger = logging.getLogger(__name__)

#: The loop that feeds the actors must not stand still for longer.
_AT_ONCE_S = 0.25


def move_results(shards: Iterable[OpenShard], leaving: Collection[str], here: Callable[[], str]) -> int:
    """Copy results that exist only on `leaving` nodes to this driver's node; returns the number of those moved.

    What is not here yet is requested, and moved by a later call. Small results are in the driver's memory anyway.

    Args:
        shards: open shards, whose parts are replaced.
        leaving: ids of nodes.
        here: id of the node of this driver; asked only if there are results to move.
    """
    end_s, moved = time.monotonic() + _AT_ONCE_S, 0
    found = {part: (shard, start) for shard, start, part in _parts(shards)}
    places = get_local_object_locations(list(found)) if found else {}
    only_there = [part for part, place in places.items() if place["node_ids"] and _all_leave(place, leaving)]
    if not only_there or here() in leaving:
        return 0
    arrived, _ = ray.wait(only_there, num_returns=len(only_there), timeout=0, fetch_local=True)
    for part in arrived:
        shard, start = found[part]
        try:
            shard.parts[start] = ray.put(ray.get(part))
            moved += 1
        except RayError as error:  # It is lost: writing the shard finds that, and the shard starts over.
            logger.debug("A result is lost with its node: %s", error)
        if time.monotonic() > end_s:
            break
    return moved


def _parts(shards: Iterable[OpenShard]) -> Iterator[tuple[OpenShard, int, Any]]:
    for shard in shards:
        for start, part in shard.parts.items():
            yield shard, start, part


def _all_leave(place: dict[str, Any], leaving: Collection[str]) -> bool:
    return set(place["node_ids"]) <= set(leaving)
