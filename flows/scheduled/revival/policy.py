"""When a flow run counts as dead, and how often it is started again: a parameter of the flow `reap`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RevivalPolicy(BaseModel):
    """The limits; the defaults suit flows that send a heartbeat every minute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heartbeat_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds between heartbeats of a flow run: PREFECT_FLOWS_HEARTBEAT_FREQUENCY of the pool.",
    )
    missed_heartbeats: int = Field(default=3, ge=2, description="How many heartbeats in a row must be missing.")
    mute_s: float = Field(
        default=900.0,
        gt=0,
        description="Seconds without a sign of life from a flow run that has sent no heartbeat since its start.",
    )
    pending_s: float = Field(
        default=900.0, gt=0, description="Seconds that a flow run may be Pending before it is ended."
    )
    cancelling_s: float = Field(
        default=600.0, gt=0, description="Seconds that a silent flow run may be Cancelling before it is set Cancelled."
    )
    most: int = Field(
        default=3, ge=0, description="How often a flow run is started again within `window_s`; then it is Failed."
    )
    window_s: float = Field(
        default=86400.0, gt=0, description="Seconds in which revivals are counted; an older crash is left alone."
    )

    @property
    def listen_s(self) -> float:
        """How long a silent flow run is watched before it is ended: its next heartbeat would have arrived."""
        return 1.5 * self.heartbeat_s
