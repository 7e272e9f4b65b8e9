"""Counts and times of a server, as Prometheus reads them. All values belong to the event loop's thread.

`hanclip_serve_*`: see `docs/serve.md`.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(slots=True)
class Family:
    """A metric with labels.

    Attributes:
        kind: counter, gauge or histogram.
        bounds: upper bounds of a histogram's buckets.
        values: by the values of the labels; of a histogram its sum.
        counts: of a histogram's buckets, the last without a bound.
        mirror: called with the labels' values and with what was added to a counter, set in a gauge, or observed.
    """

    name: str
    about: str
    kind: str
    labels: tuple[str, ...] = ()
    bounds: Sequence[float] = ()
    values: dict[tuple[str, ...], float] = field(default_factory=dict)
    counts: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    mirror: Callable[[tuple[str, ...], float], None] | None = None

    def add(self, *labels: str, value: float = 1) -> None:
        """Add to a counter or a gauge."""
        self.values[labels] = self.values.get(labels, 0) + value
        self._mirror(labels, self.values[labels] if self.kind == "gauge" else value)

    def set(self, *labels: str, value: float) -> None:
        """Set a gauge."""
        self.values[labels] = value
        self._mirror(labels, value)

    def observe(self, *labels: str, value: float) -> None:
        """Count a value of a histogram."""
        self.add(*labels, value=value)
        counts = self.counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect.bisect_left(self.bounds, value)] += 1

    def _mirror(self, labels: tuple[str, ...], value: float) -> None:
        if self.mirror is not None:
            self.mirror(labels, value)

    def lines(self) -> Iterator[str]:
        """The metric as Prometheus reads it."""
        name = f"hanclip_serve_{self.name}"
        yield f"# HELP {name} {self.about}"
        yield f"# TYPE {name} {self.kind}"
        for labels, value in self.values.items():
            pairs = [f'{key}="{_escaped(word)}"' for key, word in zip(self.labels, labels, strict=True)]
            if self.kind != "histogram":
                yield f"{name}{_braced(pairs)} {value:.12g}"
                continue
            total = 0
            for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts[labels], strict=True):
                total += count
                below = f'le="{bound}"'
                yield f"{name}_bucket{_braced([*pairs, below])} {total}"
            yield f"{name}_sum{_braced(pairs)} {value:.12g}"
            yield f"{name}_count{_braced(pairs)} {total}"


def _braced(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class ServeMetrics:
    """The metrics of a server."""

    def __init__(self) -> None:
        self.requests = Family("requests_total", "Requests answered.", "counter", ("route", "status", "key"))
        self.seconds = _times("request_seconds", "Seconds from a request to its answer.", "route")
        self.rejected = Family("rejected_total", "Requests that got an error, by its code.", "counter", ("code",))
        self.in_flight = Family("in_flight", "Requests in progress.", "gauge", values={(): 0})
        self.queue = _times("queue_seconds", "Seconds that the oldest row of a pass waited.", "tower")
        self.passes = _times("pass_seconds", "Seconds of a forward pass.", "tower")
        self.rows = Family("pass_rows", "Rows of a forward pass.", "histogram", ("tower",), _ROWS)
        self.most_rows = Family(
            "pass_rows_limit", "Most rows of a pass; it shrinks if memory ends.", "gauge", ("tower",)
        )
        self.fetches = _times("image_fetch_seconds", "Seconds of fetching an image.")

    def on_pass(self, tower: str, rows: int, seconds: float, waited_s: float) -> None:
        """Count a forward pass."""
        self.rows.observe(tower, value=rows)
        self.passes.observe(tower, value=seconds)
        self.queue.observe(tower, value=waited_s)

    def families(self) -> tuple[Family, ...]:
        """All of them."""
        return tuple(vars(self).values())

    def text(self) -> str:
        """All of them as Prometheus reads them."""
        return "".join(f"{line}\n" for family in self.families() for line in family.lines())


def _times(name: str, about: str, *labels: str) -> Family:
    return Family(name, about, "histogram", labels, _SECONDS)
