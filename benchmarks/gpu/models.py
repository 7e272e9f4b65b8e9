"""Folders with models of a released size and random weights, written without transformers and within seconds."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.model.architecture import Architecture
from pipeline.model.released import variant
from pipeline.model.towers.model import TwoTowers

_LOGIT_SCALE = 4.6052


def released_shape(name: str) -> Architecture:
    """The sizes of a released model with a short name, such as `vit-b-16`."""
    found = variant(name)
    if found is None:
        raise SystemExit(f"{name} is no released model: take vit-b-16, vit-l-14, vit-l-14-336, vit-h-14 or rn50")
    return found.architecture


def random_folder(name: str, work: Path, device: str = "cuda") -> Path:
    """A folder below `work` with a model of that size, written if missing: float16, made on `device`."""
    import torch
    from safetensors.torch import save_file

    from tests.fixtures.checkpoints import write_small_files

    folder, sizes = work / f"model-{name}", released_shape(name)
    weights = folder / "model.safetensors"
    if weights.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_small_files(folder, sizes.image_size)
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary += [f"[unused{i}]" for i in range(100, 100 + sizes.vocabulary - len(vocabulary) + 1)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary[: sizes.vocabulary]) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(sizes.config()), encoding="utf-8")
    state = {key: value.to("cpu", torch.float16) for key, value in random_towers(sizes, device).state_dict().items()}
    whole = weights.with_suffix(".part")
    save_file(state, whole)
    whole.rename(weights)
    return folder


def random_towers(sizes: Architecture, device: str) -> TwoTowers:
    """Towers of these sizes on `device`, in float32, whose activations neither vanish nor overflow."""
    import torch

    with torch.device("meta"):
        towers = TwoTowers(sizes)
    towers = towers.to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, values in towers.state_dict().items():
            if values.ndim >= 2:
                values.normal_(std=0.3 if "embedding" in name else values[0].numel() ** -0.5)
            elif values.is_floating_point():
                values.fill_(_LOGIT_SCALE if name == "logit_scale" else float(not name.endswith(("bias", "mean"))))
            else:
                values.zero_()
    return towers
