"""Sends the metrics of the API to Ray's, which Prometheus scrapes on every node.

`GET /metrics` through Serve's proxy would show those of any one replica.
"""

from __future__ import annotations

from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.serving.border.metrics import Family, ServeMetrics


def mirror(metrics: ServeMetrics) -> None:
    """From now on, send each change of `metrics` to Ray."""
    for family in metrics.families():
        family.mirror = _sender(family)


def _sender(family: Family) -> Any:
    """What is called with the values of the labels and with a value: added, set or observed, by the family's kind."""
    name, about, labels = f"hanclip_serve_{family.name.removesuffix('_total')}", family.about, family.labels
    if family.kind == "counter":
        send = Counter(name, about, labels).inc
    elif family.kind == "gauge":
        send = Gauge(name, about, labels).set
    else:
        send = Histogram(name, about, list(family.bounds), labels).observe

    def sender(values: tuple[str, ...], value: float) -> None:
        send(value, tags=dict(zip(labels, values, strict=True)))

    return sender
