"""The arguments of every variant of a benchmark: files, model, output folder."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work.

    Attributes:
        images: folder of JPEGs.
        count: how many of them, in name order.
        model: what `hanclip embed --model` takes.
        dtype: bf16, fp16 or fp32.
        batch: images per decode and per forward pass.
        out: folder for the result.
        marks: file for progress, see `watching`.
    """

    images: Path
    count: int
    model: str
    dtype: str
    batch: int
    out: Path
    marks: Path

    def arguments(self) -> list[str]:
        """Arguments from which `parse` makes this case."""
        return [
            *("--images", str(self.images), "--count", str(self.count), "--model", self.model),
            *("--dtype", self.dtype, "--batch", str(self.batch), "--out", str(self.out), "--marks", str(self.marks)),
        ]

    def paths(self) -> list[Path]:
        """The files."""
        return sorted(self.images.rglob("*.jpg"))[: self.count]


def parse(description: str | None) -> Case:
    """Parse the case from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "out", "marks"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("count", "batch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="fp32")
    return Case(**vars(parser.parse_args()))
