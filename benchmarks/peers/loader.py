"""The same work with a PyTorch DataLoader: decoding in its workers, the model in the main process.

As clip-retrieval does it: a map-style data set opens each file with Pillow and returns normalised float32 pixels, the
workers collate batches, and the main process runs the model and writes the vectors. One worker per core, and the model
has as many threads; while it waits for the workers it takes no core.
"""

from __future__ import annotations

import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from benchmarks.bare import decode
from benchmarks.case import parse
from benchmarks.watching import Marks


class Item(NamedTuple):
    """One image: when its decoding began, its path, and (3, N, N) float32 normalised pixels."""

    began_s: float
    path: str
    pixels: torch.Tensor


class Images(Dataset[Item]):
    """The files of a case."""

    def __init__(self, paths: list[Path], size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._paths, self._size = paths, size
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Item:
        began_s = time.monotonic()
        # What torchvision's ToTensor and Normalize do.
        levels = torch.from_numpy(decode(self._paths[number], self._size).copy()).permute(2, 0, 1).contiguous()
        pixels = levels.float().div_(255).sub_(self._mean).div_(self._std)
        return Item(began_s, str(self._paths[number]), pixels)


class Collate:
    """Makes a batch of items in the worker, and marks its progress."""

    def __init__(self, marks: Path) -> None:
        self._path = marks

    @cached_property
    def _marks(self) -> Marks:
        return Marks(self._path)  # opened in the worker

    def __call__(self, items: list[Item]) -> tuple[list[str], torch.Tensor]:
        """Paths and (B, 3, N, N) float32."""
        pixels = default_collate([item.pixels for item in items])
        self._marks.add(len(items), 0, time.monotonic() - items[0].began_s)
        return [item.path for item in items], pixels


def main() -> None:
    """Run the pipeline to its end."""
    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.model.hardware import choose_dtype
    from pipeline.model.towers.build import load_towers

    case, cores = parse(__doc__), len(os.sched_getaffinity(0))
    case.out.mkdir(parents=True)
    torch.set_num_threads(cores)
    spec, device = resolve(ModelConfig(name=case.model)), torch.device("cpu")
    towers = load_towers(spec, device, choose_dtype(case.dtype, device))
    images = Images(case.paths(), spec.image_size, spec.image_mean, spec.image_std)
    batches: Any = DataLoader(images, case.batch, num_workers=cores, collate_fn=Collate(case.marks))
    marks, paths, parts = Marks(case.marks), [], []
    for some, pixels in batches:
        began_s = time.monotonic()
        with torch.inference_mode():
            vectors = torch.nn.functional.normalize(towers.images(pixels.to(towers.dtype)).float(), dim=1).numpy()
        marks.add(0, len(vectors), time.monotonic() - began_s)
        paths += some
        parts.append(vectors)
    found = np.concatenate(parts)
    column = pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), found.shape[1])
    pq.write_table(pa.table({"path": paths, "image_embedding": column}), case.out / "vectors.parquet")


if __name__ == "__main__":
    main()
