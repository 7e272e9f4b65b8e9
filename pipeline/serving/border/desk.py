"""What all requests of a server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.serving.access.gate import Gate
from pipeline.serving.border.budget import Budget
from pipeline.serving.border.metrics import ServeMetrics
from pipeline.serving.settings import RequestLimits


@dataclass(slots=True)
class Desk:
    """The state of a server's border.

    Attributes:
        gate: who may ask.
        in_flight: requests in progress, without probes.
        is_draining: the server is about to end: it is not ready, and closes connections.
        writes_log: whether there is an access log.
    """

    limits: RequestLimits
    gate: Gate
    metrics: ServeMetrics = field(default_factory=ServeMetrics)
    in_flight: int = 0
    is_draining: bool = False
    writes_log: bool = True
    bodies: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = Budget(self.limits.max_bodies_bytes)
