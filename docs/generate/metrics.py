"""Describes the metrics that Prometheus scrapes: of runs, by Ray, and of the API.

In: the metrics as the code creates them. Out: a page with a table of each.
"""

from __future__ import annotations

from collections.abc import Iterator

from ray.util.metrics import Counter, Metric

from actors.scheduler.metrics import Metrics
from docs.generate.markdown import code, page, prose, table
from pipeline.serving.border.metrics import ServeMetrics

PATH = "reference/metrics.md"
_HEAD = ["metric", "labels", "meaning"]


def metrics_pages() -> dict[str, str]:
    """The page by its path on the site."""
    return {
        PATH: page(
            "Metrics",
            "[Operations](../operations.md) has the alerts and the dashboard that use them.",
            "## Runs",
            "Ray exports them on the metrics port of every node, with the prefix `ray_`. Those of a counter end with "
            "`_total`.",
            table(_HEAD, sorted(_of_runs())),
            "## The API",
            "`GET /metrics` of [`hanclip serve`](commands/serve.md); on Ray Serve they are on the metrics port of "
            "every node, with the prefix `ray_`.",
            table(_HEAD, _of_the_api()),
        )
    }


def _of_runs() -> Iterator[list[str]]:
    for metric in vars(Metrics("run")).values():
        if isinstance(metric, Metric):
            kind = "counter" if isinstance(metric, Counter) else "gauge"
            yield _row(metric.info["name"], metric.info["tag_keys"], metric.info["description"], kind)


def _of_the_api() -> Iterator[list[str]]:
    for family in ServeMetrics().families():
        yield _row(f"hanclip_serve_{family.name}", family.labels, family.about, family.kind)


def _row(name: str, labels: tuple[str, ...], meaning: str, kind: str) -> list[str]:
    return [code(name), ", ".join(map(code, labels)), f"{prose(meaning.rstrip('.'))} ({kind})"]
