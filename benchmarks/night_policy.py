"""Eight hours of nights in some minutes: how often and how long flows run, and when `reap` calls them dead."""

from __future__ import annotations

#: Durations of the flows, one deployment each.
LENGTHS_S = (1, 2, 4, 8, 20)
NIGHT_EVERY_S = 25
REAP_EVERY_S = 75
RUNS_AT_ONCE = 6
TAGS = ["hanclip"]
#: The least that Prefect takes.
HEARTBEAT_S = 30
POLICY = {"heartbeat_s": HEARTBEAT_S, "missed_heartbeats": 2, "mute_s": 120.0, "pending_s": 200.0}
