"""The same work as in Ray Data's guide "Working with Images" (docs.ray.io): read_images -> map_batches twice.

`read_images` decodes, so full-size pictures go through the object store to the first `map_batches`, which resizes them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from PIL import Image

from benchmarks.case import parse
from benchmarks.peers.ray_data import embed_and_write, start
from benchmarks.watching import Marks


def resize_batch(batch: dict[str, Any], size: int, marks: Path) -> dict[str, Any]:
    """Decoded `image` (B, H, W, 3) uint8 -> `pixels` (B, size, size, 3) uint8."""
    began_s = time.monotonic()
    images = [Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC) for image in batch["image"]]
    Marks(marks).add(len(images), 0, time.monotonic() - began_s)
    return {"path": batch["path"], "pixels": np.stack([np.asarray(image) for image in images])}


def main() -> None:
    """Run the pipeline to its end."""
    case = parse(__doc__)
    settings = {"size": start(case), "marks": case.marks}
    data = ray.data.read_images([str(path) for path in case.paths()], mode="RGB", include_paths=True)
    embed_and_write(data.map_batches(resize_batch, batch_size=case.batch, fn_kwargs=settings), case)


if __name__ == "__main__":
    main()
