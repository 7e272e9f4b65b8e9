"""Writes checkpoints with random weights as Chinese CLIP's authors write theirs: `.pt` files, by their names.

    path = write_original(tmp_path / "clip.pt", SMALL["vit-b-16"])
    path = write_original(path, FULL["vit-h-14"])                          # 3.8 GB
    path = write_original(path, SMALL["rn50"], flash=True, dtype="float16", training=True)

Names and shapes are written down here from the released files, not taken from hanclip. The numbers come from the raw
stream of PCG64, which NumPy keeps as it is, so they are the same on every machine and in every version.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LOGIT_SCALE = 4.6052


@dataclass(frozen=True)
class Sizes:
    """Of one model; `stages` makes its image tower a ResNet."""

    dim: int
    image: int
    width: int
    layers: int = 0
    patch: int = 32
    head_width: int = 64
    stages: tuple[int, ...] = ()
    text_width: int = 768
    text_layers: int = 12
    text_hidden: int = 3072
    positions: int = 512
    vocabulary: int = 21128


_LARGE_14 = Sizes(dim=768, image=224, patch=14, width=1024, layers=24)
#: As released.
FULL = {
    "rn50": Sizes(dim=1024, image=224, stages=(3, 4, 6, 3), width=64, text_layers=3),
    "vit-b-16": Sizes(dim=512, image=224, patch=16, width=768, layers=12),
    "vit-l-14": _LARGE_14,
    "vit-l-14-336": replace(_LARGE_14, image=336),
    "vit-h-14": Sizes(
        dim=1024,
        image=224,
        patch=14,
        width=1280,
        head_width=80,
        layers=32,
        text_width=1024,
        text_layers=24,
        text_hidden=4096,
    ),
}
_TEXT: dict[str, int] = {"text_width": 128, "text_layers": 2, "text_hidden": 256, "positions": 64}
_SMALL_14 = Sizes(dim=32, image=56, patch=14, width=128, layers=2, **_TEXT)
#: The same five in kind, small.
SMALL = {
    "rn50": Sizes(dim=32, image=64, stages=(2, 1, 2, 1), width=8, **{**_TEXT, "text_layers": 1}),
    "vit-b-16": Sizes(dim=32, image=64, patch=16, width=128, layers=2, **_TEXT),
    "vit-l-14": _SMALL_14,
    "vit-l-14-336": replace(_SMALL_14, image=84),
    "vit-h-14": Sizes(dim=32, image=28, patch=14, width=1280, head_width=80, layers=1, **{**_TEXT, "text_width": 64}),
}


def write_original(
    path: Path, sizes: Sizes, seed: int = 0, dtype: str = "float32", flash: bool = False, training: bool = False
) -> Path:
    """Write one checkpoint; `flash` names the weights as FlashAttention does, `training` adds what training adds."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        f"module.{name}": torch.from_numpy(values) if values.dtype == np.int64 else torch.tensor(values.astype(dtype))
        for name, values in tensors(sizes, seed, flash)
    }
    tree: dict[str, Any] = {"epoch": 3, "step": 1000, "name": "test", "state_dict": state}
    if training:
        first = next(iter(state.values()))
        tree["optimizer"] = {
            "state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.zeros_like(first)}},
            "param_groups": [{"lr": 2e-5, "betas": (0.9, 0.98), "params": [0]}],
        }
        tree["best"] = np.float64(0.5)  # a NumPy number, as some training loops leave one
    torch.save(tree, path)
    return path


def tensors(sizes: Sizes, seed: int = 0, flash: bool = False) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Names, without `module.`, and values."""
    names = dict(_resnet(sizes) if sizes.stages else _vit(sizes, flash))
    names |= dict(_bert(sizes, flash))
    names |= {"text_projection": (sizes.text_width, sizes.dim), "logit_scale": ()}
    for name, shape in names.items():
        yield name, _values(name, shape, seed)


def pictures(seed: int = 0) -> dict[str, npt.NDArray[np.uint8]]:
    """Images of several modes and sizes, by file name; smooth, so that a shift of a pixel would be seen."""
    shapes = {
        "wide.png": (90, 140, 3),
        "tall.png": (301, 77, 3),
        "small.png": (9, 11, 3),
        "square.png": (224, 224, 3),
        "grey.png": (120, 66),
        "opaque.png": (64, 80, 4),
    }
    found = {}
    for number, (name, shape) in enumerate(shapes.items()):
        y, x = np.mgrid[: shape[0], : shape[1]]
        phases = _uniform(seed * 100 + number, 12).reshape(4, 3) * 9
        waves = [np.sin(y / (5 + 3 * abs(a)) + b) + np.cos(x / (4 + 2 * abs(c)) - a) for a, b, c in phases]
        levels = np.clip(127 + 62 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
        levels[..., 3] = 255
        found[name] = np.ascontiguousarray(levels[..., 0] if len(shape) == 2 else levels[..., : shape[2]])
    return found


def write_pictures(folder: Path) -> list[Path]:
    """The pictures as files."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name, levels in pictures().items():
        Image.fromarray(levels).save(folder / name)
    return [folder / name for name in pictures()]


TEXTS = [
    "红色连衣裙",
    "",
    "A red DRESS, size 42!",
    "“新款”夏季 ‘特价’",
    "[MASK] 手机 [SEP] [PAD]",
    "很长的标题，超过五十二个字" * 9,
    "Ünïcödé 123 abc",
    "皮卡丘",
    "  \t空格 \n 换行  ",
    "iPhone15手机壳ABC壳x2",
]


def _vit(sizes: Sizes, flash: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = sizes.width
    yield "visual.class_embedding", (width,)
    yield "visual.positional_embedding", ((sizes.image // sizes.patch) ** 2 + 1, width)
    yield "visual.proj", (width, sizes.dim)
    yield "visual.conv1.weight", (width, 3, sizes.patch, sizes.patch)
    yield from _pair("visual.ln_pre", width)
    for i in range(sizes.layers):
        block = f"visual.transformer.resblocks.{i}"
        fused = "Wqkv." if flash else "in_proj_"
        yield f"{block}.attn.{fused}weight", (3 * width, width)
        yield f"{block}.attn.{fused}bias", (3 * width,)
        yield from _pair(f"{block}.attn.out_proj", width, width)
        yield from _pair(f"{block}.ln_1", width)
        yield from _pair(f"{block}.mlp.c_fc", 4 * width, width)
        yield from _pair(f"{block}.mlp.c_proj", width, 4 * width)
        yield from _pair(f"{block}.ln_2", width)
    yield from _pair("visual.ln_post", width)


def _resnet(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, channels = sizes.width, sizes.width
    for i, (out, inner) in enumerate(((width // 2, 3), (width // 2, width // 2), (width, width // 2)), 1):
        yield f"visual.conv{i}.weight", (out, inner, 3, 3)
        yield from _norm(f"visual.bn{i}", out)
    for stage, blocks in enumerate(sizes.stages):
        planes = width * 2**stage
        for i in range(blocks):
            block = f"visual.layer{stage + 1}.{i}"
            for j, (out, inner, kernel) in enumerate(
                ((planes, channels, 1), (planes, planes, 3), (4 * planes, planes, 1)), 1
            ):
                yield f"{block}.conv{j}.weight", (out, inner, kernel, kernel)
                yield from _norm(f"{block}.bn{j}", out)
            if i == 0:
                yield f"{block}.downsample.0.weight", (4 * planes, channels, 1, 1)
                yield from _norm(f"{block}.downsample.1", 4 * planes)
            channels = 4 * planes
    yield "visual.attnpool.positional_embedding", ((sizes.image // 32) ** 2 + 1, channels)
    for part in "kqv":
        yield from _pair(f"visual.attnpool.{part}_proj", channels, channels)
    yield from _pair("visual.attnpool.c_proj", sizes.dim, channels)


def _bert(sizes: Sizes, flash: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = sizes.text_width
    for name, rows in (("word", sizes.vocabulary), ("position", sizes.positions), ("token_type", 2)):
        yield f"bert.embeddings.{name}_embeddings.weight", (rows, width)
    yield from _pair("bert.embeddings.LayerNorm", width)
    for i in range(sizes.text_layers):
        layer = f"bert.encoder.layer.{i}"
        if flash:
            yield from _pair(f"{layer}.attention.self.Wqkv", 3 * width, width)
        else:
            for part in ("query", "key", "value"):
                yield from _pair(f"{layer}.attention.self.{part}", width, width)
        yield from _pair(f"{layer}.attention.{'self.out_proj' if flash else 'output.dense'}", width, width)
        yield from _pair(f"{layer}.attention.output.LayerNorm", width)
        yield from _pair(f"{layer}.intermediate.dense", sizes.text_hidden, width)
        yield from _pair(f"{layer}.output.dense", width, sizes.text_hidden)
        yield from _pair(f"{layer}.output.LayerNorm", width)
    yield from _pair("bert.pooler.dense", width, width)


def _pair(name: str, out: int, *inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, *inner)
    yield f"{name}.bias", (out,)


def _norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _pair(name, channels)
    yield f"{name}.running_mean", (channels,)
    yield f"{name}.running_var", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _values(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    if name == "logit_scale":
        return np.array(LOGIT_SCALE, dtype=np.float32)
    if name.endswith("num_batches_tracked"):
        return np.array(7, dtype=np.int64)
    numbers = _uniform(seed * 2**32 + zlib.crc32(_plain(name).encode()), math.prod(shape)).reshape(shape)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith(".weight")):
        return 1 + np.float32(0.2) * numbers  # what a norm multiplies with
    if len(shape) == 1 and not name.endswith("class_embedding"):
        return np.float32(0.1) * numbers
    if "embedding" in name:
        return numbers
    fan_in = shape[0] if name in ("visual.proj", "text_projection") else math.prod(shape[1:])
    return np.float32(math.sqrt(3 / fan_in)) * numbers


def _plain(name: str) -> str:
    """The name without FlashAttention, so that both spellings get the same numbers (an image tower's)."""
    return name.replace("attn.Wqkv.", "attn.in_proj_")


def _uniform(seed: int, count: int) -> npt.NDArray[np.float32]:
    """Numbers in -1 to 1 from the raw stream, 24 bits each."""
    raw = np.random.PCG64(seed).random_raw(count)
    return ((raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-23)) - np.float32(1)
