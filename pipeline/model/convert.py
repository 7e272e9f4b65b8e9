"""Writes a checkpoint as a folder in the Hugging Face format: config.json, preprocessor, vocabulary, weights.

In: weights in any format that hanclip loads, with or without a LoRA adapter. Out: a folder that hanclip loads and, for
a ViT, transformers' `ChineseCLIPModel` too. A ResNet gets a config.json of type `chinese_clip_resnet`, which only
hanclip reads. The folder appears whole or not at all: it is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.config import ModelConfig
from pipeline.errors import ConfigError
from pipeline.model.architecture import VIT
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.configuration import CONTEXT_LENGTH
from pipeline.model.files.contents import CONFIG_NAME, TOKENIZER_CONFIG, WEIGHTS_NAMES
from pipeline.model.files.find import find_files

_BICUBIC = 3
_WEIGHTS_NAME = WEIGHTS_NAMES[0]


def check_target(out: str) -> Path:
    """The folder to write, which must be new or empty. Raises ConfigError."""
    if "://" in out:
        raise ConfigError(f"{out} is not a local folder: convert into a local folder, then copy it there.")
    folder = Path(out).expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{out} exists and is not an empty folder: give another name, or remove it.")
    return folder


def check_source(spec: ModelSpec) -> None:
    """Check that the model is not in the Hugging Face format already. Raises ConfigError."""
    files = find_files(spec.name, spec.revision)
    usual = spec.weights_file in WEIGHTS_NAMES and files.find([CONFIG_NAME]) is not None
    if usual and files.is_folder and files.adapter is None and not files.weights.is_authors:
        raise ConfigError(
            f"{spec.name} is already in the Hugging Face format: give {spec.folder} as --model, or other weights here."
        )


def convert(spec: ModelSpec, folder: Path) -> ModelSpec:
    """Write the model of `spec` into `folder`; returns the converted model.

    Raises:
        ModelError: the checkpoint is damaged, unsafe or not a Chinese CLIP.
    """
    # Torch is loaded only here, so that the checks above are fast.
    from safetensors.torch import save_file

    from pipeline.model.towers.build import load_model

    words = Path(spec.vocabulary)
    weights = load_model(spec).state_dict()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as made:
        staged = Path(made) / folder.name
        staged.mkdir()
        save_file(weights, staged / _WEIGHTS_NAME, metadata={"format": "pt"})
        _write_config(staged, spec)
        written = _write_preprocessor(staged, spec)
        if rules := spec.rules.settings():
            _write_json(staged / TOKENIZER_CONFIG, {"tokenizer_class": "BertTokenizer", **rules})
        (staged / _WEIGHTS_NAME).chmod(written.stat().st_mode)  # safetensors makes it readable by the owner only
        shutil.copyfile(words, staged / words.name)
        staged.rename(folder)  # replaces an empty folder
    return resolve(ModelConfig(name=str(folder)))


def _write_config(folder: Path, spec: ModelSpec) -> None:
    """Write the sizes and settings, for hanclip and for transformers."""
    tree = {**spec.sizes.config(), "dtype": "float32"}
    if tree["model_type"] == VIT:
        tree["architectures"] = ["ChineseCLIPModel"]
    if spec.context_length != CONTEXT_LENGTH:
        tree["context_length"] = spec.context_length
    _write_json(folder / CONFIG_NAME, tree)


def _write_preprocessor(folder: Path, spec: ModelSpec) -> Path:
    tree = {
        "do_center_crop": False,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": spec.image_mean,
        "image_processor_type": "ChineseCLIPImageProcessor",
        "image_std": spec.image_std,
        "resample": _BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"height": spec.image_size, "width": spec.image_size},
    }
    path = folder / "preprocessor_config.json"
    _write_json(path, tree)
    return path


def _write_json(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
