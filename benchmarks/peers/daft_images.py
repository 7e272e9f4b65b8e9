"""The same work with Daft's image pipeline: download -> decode_image -> resize -> a model in a class -> Parquet.

Daft decodes and resizes in Rust: its resize is another filter, so the pixels are not those that the model was trained
with. Daft runs from an environment of its own, named by `--daft-python`, which also has hanclip's extra `model`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import daft
import numpy as np
from daft import DataType, col
from daft.functions import decode_image, download, resize

from benchmarks.bare import load
from benchmarks.case import Case, parse
from benchmarks.watching import Marks


def embed(case: Case, size: int, dim: int) -> Any:
    """The class that holds the model; one process per core, each with one thread."""
    cores = len(os.sched_getaffinity(0))

    @daft.cls(max_concurrency=cores, use_process=True)
    class Embed:
        def __init__(self, marks: str) -> None:
            self._model, self._marks = load(case, threads=1), Marks(Path(marks))

        @daft.method.batch(return_dtype=DataType.embedding(DataType.float32(), dim), batch_size=case.batch)
        def vectors(self, images: daft.Series) -> Any:
            """(B, N, N, 3) uint8 -> (B, D) float32."""
            began_s = time.monotonic()
            pixels = images.to_arrow().storage.values.to_numpy().reshape(len(images), size, size, 3)
            vectors = self._model.encode_images(pixels)
            self._marks.add(len(vectors), len(vectors), time.monotonic() - began_s)
            return daft.Series.from_numpy(np.ascontiguousarray(vectors))

    return Embed(str(case.marks))


def main() -> None:
    """Run the pipeline to its end."""
    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve

    case = parse(__doc__)
    spec = resolve(ModelConfig(name=case.model))
    model = embed(case, spec.image_size, spec.dim)
    images = daft.from_pydict({"path": [str(path) for path in case.paths()]})
    pixels = resize(decode_image(download(col("path")), mode="RGB"), spec.image_size, spec.image_size)
    images = images.with_column("pixels", pixels)
    found = images.select(col("path"), model.vectors(col("pixels")).alias("image_embedding"))
    found.write_parquet(str(case.out))


if __name__ == "__main__":
    main()
