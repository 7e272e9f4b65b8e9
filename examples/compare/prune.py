"""Make a second model to compare with: a copy of one with the smallest weights of each matrix set to zero.

Usage: python prune.py MODEL PRUNED [--share 0.6]

Only one model ships, so this stands in for your own second checkpoint. Pruning asks a real question: how much
smaller may a model be before it finds other pictures? (Zeros alone make no file smaller and no run faster.)
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS = "model.safetensors"


def main() -> None:
    """Copy the folder, and prune its weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pruned", type=Path)
    parser.add_argument("--share", type=float, default=0.6)
    given = parser.parse_args()
    shutil.copytree(given.model, given.pruned, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)
    weights = load_file(given.model / WEIGHTS)
    for name, values in weights.items():
        if values.ndim == 2 and "embedding" not in name:
            small = np.abs(values) < np.quantile(np.abs(values.astype(np.float32)), given.share)
            weights[name] = np.where(small, 0, values).astype(values.dtype)
    save_file(weights, given.pruned / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
