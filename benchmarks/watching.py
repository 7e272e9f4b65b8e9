"""Runs one variant in a separate process and measures wall time, CPU time, and the steady phase in the middle.

The variant appends `<began> <ended> <images decoded> <images embedded>` lines to a marks file for every batch, in
monotonic seconds; the clock is machine-wide, so lines of several processes are comparable. A batch's work is spread
evenly over its time, so that a phase need not start and end with a batch. The steady phase ends when 95 % of the images
are decoded, and begins when 40 % of those embedded by then are: after processes have started, models are loaded and
queues are full, and before the first worker is idle. The images decoded per embedded image are reported; the ratio is 1
if queues are as full at the end as at the beginning.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cpu_time import CpuMeter, make_meter

Floats = npt.NDArray[np.float64]

_SAMPLE_EVERY_S = 0.1
_GRID_S = 0.05
_DECODED_AT_END = 0.95
_EMBEDDED_AT_BEGIN = 0.40
_DAEMONS_END_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One run of one variant.

    Attributes:
        images: number embedded.
        wall_s, cpu_s: of the whole run, from the start of the first process to the end of the last.
        steady_images_per_s, steady_cpu_ms: rate and CPU per embedded image in the steady phase.
        decoded_per_embedded: images decoded per embedded image in the steady phase.
    """

    images: int
    wall_s: float
    cpu_s: float
    steady_images_per_s: float
    steady_cpu_ms: float
    decoded_per_embedded: float

    def to_json(self) -> dict[str, Any]:
        """Plain, rounded values, with the whole run's rate and CPU per image."""
        return {
            "images": self.images,
            "wall_s": round(self.wall_s, 2),
            "cpu_s": round(self.cpu_s, 2),
            "steady_images_per_s": round(self.steady_images_per_s, 1),
            "steady_cpu_ms_per_image": round(self.steady_cpu_ms, 2),
            "decoded_per_embedded": round(self.decoded_per_embedded, 3),
            "whole_images_per_s": round(self.images / self.wall_s, 1),
            "whole_cpu_ms_per_image": round(1000 * self.cpu_s / self.images, 2),
        }


class Marks:
    """Writes a variant's progress."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, decoded: int, embedded: int, seconds: float) -> None:
        """Add so many images, done now after `seconds` of work. One short write, so that lines do not mix."""
        ended_s = time.monotonic()
        os.write(self._file, f"{ended_s - seconds:.3f} {ended_s:.3f} {decoded} {embedded}\n".encode())


def watch(command: Sequence[str], marks: Path, log: Path, timeout_s: float) -> Observation:
    """Run `command` to its end.

    Raises:
        RuntimeError: it failed or took longer than `timeout_s`; see `log`.
    """
    meter = make_meter()
    try:
        samples = _sample(meter, command, log, timeout_s)
    finally:
        meter.close()
    times, cpu = np.array(samples).T
    at_s, decoded, embedded = _progress(marks)
    begin, end = _steady(decoded, embedded)
    through = embedded[end] - embedded[begin]
    used_s = np.interp(at_s[end], times, cpu) - np.interp(at_s[begin], times, cpu)
    return Observation(
        images=round(float(embedded[-1])),
        wall_s=float(times[-1] - times[0]),
        cpu_s=float(cpu[-1]),
        steady_images_per_s=float(through / (at_s[end] - at_s[begin])),
        steady_cpu_ms=float(1000 * used_s / through),
        decoded_per_embedded=float((decoded[end] - decoded[begin]) / through),
    )


def steady_span(marks: Path) -> tuple[float, float]:
    """Monotonic seconds at which the steady phase of the run with these marks began and ended."""
    at_s, decoded, embedded = _progress(marks)
    begin, end = _steady(decoded, embedded)
    return float(at_s[begin]), float(at_s[end])


def _progress(marks: Path) -> tuple[Floats, Floats, Floats]:
    """Times of the run, and the images decoded and embedded by then."""
    began_s, ended_s, decoded, embedded = np.loadtxt(marks, ndmin=2).T
    at_s = np.arange(began_s.min(), ended_s.max() + _GRID_S, _GRID_S)
    lasted_s = np.maximum(ended_s - began_s, 1e-6)
    share_done = np.clip((at_s[:, None] - began_s) / lasted_s, 0, 1)
    return at_s, share_done @ decoded, share_done @ embedded


def _steady(decoded: Floats, embedded: Floats) -> tuple[int, int]:
    """Indices of the times at which the phase begins and ends."""
    end = int(np.searchsorted(decoded, _DECODED_AT_END * decoded[-1]))
    begin = int(np.searchsorted(embedded, _EMBEDDED_AT_BEGIN * embedded[end]))
    if embedded[end] <= embedded[begin]:
        raise RuntimeError("too few images for a steady phase: give a larger --count")
    return begin, end


def _sample(meter: CpuMeter, command: Sequence[str], log: Path, timeout_s: float) -> list[tuple[float, float]]:
    """(monotonic seconds, CPU seconds) pairs until the command and all its daemons have ended."""
    samples = [(time.monotonic(), 0.0)]
    with log.open("w") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=meter.join)
    while child.poll() is None:
        samples.append((time.monotonic(), meter.seconds(child.pid)))
        if time.monotonic() - samples[0][0] > timeout_s:
            child.terminate()
            child.wait(30)
            break
        time.sleep(_SAMPLE_EVERY_S)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}; its output is in {log}")
    wall_ended_s = time.monotonic()
    while meter.living(child.pid) and time.monotonic() - wall_ended_s < _DAEMONS_END_WITHIN_S:
        time.sleep(_SAMPLE_EVERY_S)
    samples.append((wall_ended_s, meter.seconds(child.pid)))
    return samples
