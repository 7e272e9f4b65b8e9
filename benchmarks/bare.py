"""The bare loop: read, decode, embed, keep the vectors; one process per core, no coordination.

It does only the unavoidable work, with the same model class in the same number format, and is the baseline of a run.
Each process writes one Parquet file at its end.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.case import Case, parse
from benchmarks.watching import Marks


def decode(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """(size, size, 3) uint8: the same pixels as hanclip's, without limits, hashes or reasons."""
    with Image.open(path) as image:
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def load(case: Case, threads: int) -> Any:
    """The case's model."""
    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip
    from pipeline.model.hardware import set_threads

    set_threads(threads)
    return ChineseClip.load(resolve(ModelConfig(name=case.model)), case.dtype)


def work(case: Case, first: int, step: int) -> None:
    """Embed every `step`-th image from number `first` on."""
    model, marks = load(case, threads=1), Marks(case.marks)
    paths = case.paths()[first::step]
    parts = []
    for some in _batches(paths, case.batch):
        began_s = time.monotonic()
        parts.append(model.encode_images(np.stack([decode(path, model.image_size) for path in some])))
        marks.add(len(some), len(some), time.monotonic() - began_s)
    vectors = np.concatenate(parts)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"path": [str(path) for path in paths], "image_embedding": column})
    pq.write_table(table, case.out / f"{first}.parquet")


def _batches(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


def main() -> None:
    """One process per core."""
    case = parse(__doc__)
    case.out.mkdir(parents=True)
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(case, first, cores)) for first in range(cores)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process of the bare loop failed")


if __name__ == "__main__":
    main()
