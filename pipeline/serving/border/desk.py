"""What all requests of a server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.serving.access.gate import Gate
from pipeline.serving.border.arrivals import Arrivals
from pipeline.serving.border.budget import Budget
from pipeline.serving.border.call import OpenCall
from pipeline.serving.border.metrics import ServeMetrics
from pipeline.serving.errors import overloaded
from pipeline.serving.settings import RequestLimits


@dataclass(slots=True)
class Desk:
    """The state of a server's border.

    Attributes:
        gate: who may ask.
        in_flight: requests in progress: whole, without their answers, and no probes.
        is_draining: the server is about to end: it is not ready, and closes connections.
        writes_log: whether there is an access log.
        bodies: bytes of requests.
        arrivals: requests whose bodies are on their way.
    """

    limits: RequestLimits
    gate: Gate
    metrics: ServeMetrics = field(default_factory=ServeMetrics)
    in_flight: int = 0
    is_draining: bool = False
    writes_log: bool = True
    bodies: Budget = field(init=False)
    arrivals: Arrivals = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = Budget(self.limits.max_bodies_bytes)
        self.arrivals = Arrivals(self.bodies)

    def require_place(self) -> None:
        """Raise ApiError if there is no place for one more request in progress."""
        if self.in_flight >= self.limits.max_requests:
            raise overloaded("Too many requests are in progress here. Try again in a moment.")

    def take_place(self, call: OpenCall) -> None:
        """Count a request as in progress, once. Raises ApiError if there is no place."""
        if call.has_place:
            return
        self.require_place()
        self.in_flight += 1
        call.has_place = True

    def leave(self, call: OpenCall) -> None:
        """Take back what a request held."""
        self.bodies.give(call.held_bytes)
        self.in_flight -= call.has_place
