"""Merges a LoRA adapter, a folder that PEFT wrote, into the weights of its base model.

In: `adapter_config.json` and `adapter_model.safetensors` or `.bin`. Out: what to add to which tensor, in float32:
`scale * B @ A`. PEFT itself is not needed, and whether it is installed changes nothing. Only what can be merged exactly
is accepted: plain LoRA on linear, embedding and convolution layers, and layers that were trained whole beside it
(`modules_to_save`). Everything else is refused by its name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError
from pipeline.model.local.small_files import read_json
from pipeline.model.weights.naming import moves
from pipeline.model.weights.states import plain, some
from pipeline.model.weights.stored import Stored
from pipeline.model.weights.tensors import read_tree, read_values

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_NAMES = ("adapter_model.safetensors", "adapter_model.bin")

#: Settings that do not change what a trained adapter computes: how it was trained, and which layers it is on, which
#: its tensors show. `fan_in_fan_out` is for layers that Chinese CLIP does not have; PEFT ignores it on others.
_INERT = frozenset(
    (
        *("base_model_name_or_path", "revision", "peft_type", "peft_version", "task_type", "auto_mapping"),
        *("target_modules", "exclude_modules", "layers_pattern", "layers_to_transform", "fan_in_fan_out"),
        *("inference_mode", "lora_dropout", "runtime_config", "megatron_core", "ensure_weight_tying"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"),
    )
)
_USED = frozenset(
    (
        *("r", "lora_alpha", "use_rslora", "alpha_pattern", "rank_pattern"),
        *("modules_to_save", "bias", "init_lora_weights"),
    )
)
#: Initialisations that leave the base as it is; the others change it, and the adapter fits only the changed one.
_INITS = (True, False, "gaussian", "orthogonal")
_PART = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.(?:default|weight))*")
_BASE = re.compile(r"(?:base_model\.model\.)?(.+)")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one tensor of the base: `values` are added to it, or replace it."""

    values: npt.NDArray[Any]
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter.

    Attributes:
        folder: of its files.
        base: name of its base model, as PEFT recorded it; None if it did not.
        revision: of the base, for a model of the hub.
        digest: SHA-256 hex digest of its tensors and scales.
        changes: by the base's tensor, named as in the base that it was trained on.
    """

    folder: Path
    base: str | None
    revision: str | None
    digest: str
    changes: dict[str, Change]

    def merged_into(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Change]:
        """The changes by the names in `shapes`, which are transformers' and those of the base.

        Raises:
            ModelError: one of them fits no tensor.
        """
        is_resnet = "vision_model.attnpool.positional_embedding" in shapes
        inner = {_without_wrappers(name, shapes, is_resnet): change for name, change in self.changes.items()}
        found: dict[str, Change] = {}
        for move in moves(inner, is_resnet):
            change = inner[move.source]
            found[move.target] = Change(move.values(change.values), change.replaces)
        wrong = [name for name, change in found.items() if shapes.get(name) != change.values.shape]
        if wrong:
            raise ModelError(
                f"{self.folder}: the adapter does not fit its base model at {some(wrong)}: give the base that it was "
                f"trained on, {self.base or 'which its configuration does not name'}."
            )
        return found


def read_adapter(folder: Path) -> Adapter:
    """Read the adapter in a folder. Raises ModelError if it is damaged, or cannot be merged exactly."""
    path = folder / ADAPTER_CONFIG
    config = read_json(path)
    _refuse_unmergeable(path, config)
    file = next((folder / name for name in ADAPTER_NAMES if (folder / name).is_file()), None)
    if file is None:
        raise ModelError(f"{folder} lacks {ADAPTER_NAMES[0]}, the adapter of {path}: copy it into that folder.")
    tree = read_tree(file)
    tensors = {plain(str(name)): value for name, value in tree.items() if isinstance(value, Stored)}
    changes, whole = {}, hashlib.sha256()
    for name, change in sorted(_changes(file, config, tensors).items()):
        changes[name] = change
        whole.update(f"{name} {change.values.shape} {change.replaces} ".encode())
        whole.update(np.ascontiguousarray(change.values).data)
    base = config.get("base_model_name_or_path")
    return Adapter(folder, str(base) if base else None, config.get("revision"), whole.hexdigest(), changes)


def _refuse_unmergeable(path: Path, config: Mapping[str, Any]) -> None:
    found = []
    if config.get("peft_type") != "LORA":
        found.append(f"peft_type {config.get('peft_type')!r}")
    if config.get("bias", "none") != "none":
        found.append(f"bias {config['bias']!r}")
    if config.get("init_lora_weights", True) not in _INITS:
        found.append(f"init_lora_weights {config['init_lora_weights']!r}")
    found += [f"{name} {value!r}" for name, value in config.items() if value and name not in _INERT | _USED]
    if found:
        raise ModelError(
            f"{path}: hanclip merges plain LoRA only, and this adapter has {', '.join(found)}. Merge it where it was "
            "trained: call merge_and_unload() on the PEFT model, save_pretrained(FOLDER), and give that folder."
        )


def _changes(file: Path, config: Mapping[str, Any], tensors: Mapping[str, Stored]) -> dict[str, Change]:
    pairs: dict[str, dict[str, Stored]] = {}
    found: dict[str, Change] = {}
    saved = tuple(config.get("modules_to_save") or ())
    others = []
    for name, tensor in tensors.items():
        inner = _BASE.fullmatch(name)[1]  # type: ignore[index]  # matches every name
        if part := _PART.fullmatch(inner):
            pairs.setdefault(part[1], {})[part[3]] = tensor
            pairs[part[1]]["is_embedding"] = part[2]  # type: ignore[assignment]
            continue
        whole = re.sub(r"\.modules_to_save(?:\.default)?\.", ".", inner)
        if any(f".{module}." in f".{whole}" for module in saved):
            found[whole] = Change(read_values(tensor), replaces=True)
        else:
            others.append(name)
    lone = [name for name, pair in pairs.items() if not {"A", "B"} <= set(pair)]
    if others or lone or not tensors:
        raise ModelError(
            f"{file} holds tensors that are no pair of LoRA: {some([*others, *lone]) or 'none at all'}. Merge it where "
            "it was trained: call merge_and_unload() on the PEFT model, and save that."
        )
    for name, pair in pairs.items():
        found[f"{name}.weight"] = Change(_product(file, name, pair, config))
    broken = [name for name, change in found.items() if not np.isfinite(change.values).all()]
    if broken:
        raise ModelError(f"{file}: NaN or infinity at {some(broken)}: take an adapter from before training diverged.")
    return found


def _product(file: Path, name: str, pair: Mapping[str, Any], config: Mapping[str, Any]) -> npt.NDArray[Any]:
    """`scale * B @ A` in float32, in the shape of the layer's weight."""
    first, second = read_values(pair["A"]), read_values(pair["B"])
    rank = int(_by_pattern(config.get("rank_pattern"), name, config["r"]))
    if first.shape[0] != rank or second.shape[1] != rank:
        raise ModelError(
            f"{file}: {name} has rank {first.shape[0]}, its configuration states {rank}: take both files of the "
            "adapter from one training."
        )
    alpha = float(_by_pattern(config.get("alpha_pattern"), name, config["lora_alpha"]))
    scale = np.float32(alpha / (rank**0.5 if config.get("use_rslora") else rank))
    product: npt.NDArray[Any] = scale * (second.reshape(len(second), rank) @ first.reshape(rank, -1))
    if pair["is_embedding"]:
        return product.T
    return product.reshape(len(second), *first.shape[1:])


def _by_pattern(patterns: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of a layer's name, as PEFT finds it."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default


def _without_wrappers(name: str, shapes: Mapping[str, tuple[int, ...]], is_resnet: bool) -> str:
    """The name without what precedes the model's own, if it was trained inside another module."""
    parts = name.split(".")
    inner = (".".join(parts[first:]) for first in range(len(parts)))
    return next((one for one in inner if any(move.target in shapes for move in moves([one], is_resnet))), name)
