"""Reserves the places of a run's first decoder and first embedder, both or none.

Runs share a cluster. If each took its places one by one, several runs could fill the cluster with decoders, and none
would ever get an embedder. A run therefore reserves one place of each kind together, in a placement group of Ray, and
asks for further actors once it has them: whatever others hold, it can then finish and free its places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

#: On a cluster with free places a reservation takes milliseconds.
_AT_ONCE_S = 1.0


class Reservation:
    """The reserved places of a run.

    Args:
        asks: by role, what its actor asks of a node, by Ray's names of resources.
    """

    def __init__(self, asks: Mapping[str, Mapping[str, float]]) -> None:
        self._roles = list(asks)
        self._group = placement_group([_positive(asked) for asked in asks.values()], strategy="PACK")
        self._granted = bool(self._group.wait(_AT_ONCE_S))

    @property
    def granted(self) -> bool:
        """Whether the places are held."""
        self._granted = self._granted or placement_group_table(self._group)["state"] == "CREATED"
        return self._granted

    def place(self, role: str) -> ReservedPlace:
        """The place of an actor of this role, which waits there until the place is held and empty."""
        strategy = PlacementGroupSchedulingStrategy(self._group, self._roles.index(role))
        return ReservedPlace(self, self._roles.index(role), {"scheduling_strategy": strategy})

    def node(self, index: int) -> str:
        """The id of the node that holds a place; empty until one does."""
        return str(placement_group_table(self._group)["bundles_to_node_id"].get(index, ""))

    def release(self) -> None:
        """Give the places back; actors that are still there end."""
        remove_placement_group(self._group)


@dataclass(frozen=True, slots=True)
class ReservedPlace:
    """A place for one actor, which is created with `options`."""

    reservation: Reservation
    index: int
    options: Mapping[str, Any]

    @property
    def granted(self) -> bool:
        """Whether the place is held, with all others of its reservation."""
        return self.reservation.granted

    @property
    def node(self) -> str:
        """The id of its node; Ray looks for another one when that is gone."""
        return self.reservation.node(self.index)


def _positive(asked: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in asked.items() if value}
