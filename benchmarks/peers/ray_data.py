"""The same work with Ray Data, decoding and resizing in one function: read -> map_batches -> map_batches -> Parquet.

This avoids passing full-size pictures between operators; `ray_images.py` is the usual way.

Four logical CPUs on a smaller machine, because the actors hold theirs all the time and none would be left for
reading and decoding.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from PIL import Image

from benchmarks.bare import load
from benchmarks.case import Case, parse
from benchmarks.watching import Marks

_LOGICAL_CPUS = 4


def decode_batch(batch: dict[str, Any], size: int, marks: Path) -> dict[str, Any]:
    """Encoded `bytes` -> `pixels` (B, size, size, 3) uint8."""
    began_s = time.monotonic()
    images = [Image.open(io.BytesIO(data)).resize((size, size), Image.Resampling.BICUBIC) for data in batch["bytes"]]
    Marks(marks).add(len(images), 0, time.monotonic() - began_s)
    return {"path": batch["path"], "pixels": np.stack([np.asarray(image) for image in images])}


class Embed:
    """The model, loaded once per actor."""

    def __init__(self, case: Case) -> None:
        self._model, self._marks = load(case, threads=1), Marks(case.marks)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`pixels` -> `image_embedding` (B, D) float32."""
        began_s = time.monotonic()
        vectors = self._model.encode_images(batch["pixels"])
        self._marks.add(0, len(vectors), time.monotonic() - began_s)
        return {"path": batch["path"], "image_embedding": vectors}


def start(case: Case) -> int:
    """Start Ray and return the model's image size."""
    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve

    # "local", since Ray would join any cluster that runs on this machine.
    ray.init("local", num_cpus=max(_LOGICAL_CPUS, _cores()), include_dashboard=False)
    return resolve(ModelConfig(name=case.model)).image_size


def embed_and_write(data: ray.data.Dataset, case: Case) -> None:
    """The second half: `path` and `pixels` -> Parquet files of vectors."""
    data = data.map_batches(
        Embed, batch_size=case.batch, fn_constructor_args=(case,), compute=ray.data.ActorPoolStrategy(size=_cores())
    )
    data.write_parquet(str(case.out))
    ray.shutdown()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Run the pipeline to its end."""
    case = parse(__doc__)
    settings = {"size": start(case), "marks": case.marks}
    data = ray.data.read_binary_files([str(path) for path in case.paths()], include_paths=True)
    embed_and_write(data.map_batches(decode_batch, batch_size=case.batch, fn_kwargs=settings), case)


if __name__ == "__main__":
    main()
