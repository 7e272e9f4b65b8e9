"""Converts an original `.pt` checkpoint to a folder: config.json, preprocessor_config.json, vocabulary, weights.

In: the files of a `.pt` model. Out: a folder that hanclip loads and, for a ViT, transformers' `ChineseCLIPModel` too. A
ResNet gets a config.json of type `chinese_clip_resnet`, which only hanclip reads. The folder appears whole or not at
all: it is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from pipeline.config import ModelConfig
from pipeline.errors import ConfigError
from pipeline.images.decode import CLIP_MEAN, CLIP_STD
from pipeline.model.checkpoints import CONTEXT_LENGTH, ModelSpec, resolve
from pipeline.model.files.contents import vocabulary_file

_BICUBIC = 3


def check_target(out: str) -> Path:
    """The folder to write, which must be new or empty. Raises ConfigError."""
    if "://" in out:
        raise ConfigError(f"{out} is not a local folder: convert into a local folder, then copy it there.")
    folder = Path(out).expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{out} exists and is not an empty folder: give another name, or remove it.")
    return folder


def check_source(spec: ModelSpec) -> None:
    """Check that the model is a `.pt` file, since no other needs converting. Raises ConfigError."""
    if not spec.weights_file.endswith(".pt"):
        raise ConfigError(
            f"{spec.name} is already in the Hugging Face format: give {spec.folder} as --model, or a .pt file here."
        )


def convert(spec: ModelSpec, folder: Path) -> ModelSpec:
    """Write the model of `spec` into `folder`; returns the converted model.

    Raises:
        ModelError: the checkpoint is damaged, unsafe or not a Chinese CLIP.
    """
    # Torch is loaded only here, so that the checks above are fast.
    from pipeline.model.tokenizer import Tokenizer
    from pipeline.model.towers.build import load_model, quiet

    words = vocabulary_file(Path(spec.vocabulary_folder or spec.folder))
    Tokenizer.load(words.parent, CONTEXT_LENGTH)  # raises if it is not a vocabulary
    model = load_model(spec)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as made:
        staged = Path(made) / folder.name
        with quiet():
            model.save_pretrained(staged, max_shard_size="100GB")
        written = _write_preprocessor(staged, spec.image_size)
        (staged / "model.safetensors").chmod(written.stat().st_mode)  # safetensors makes it readable by the owner only
        shutil.copyfile(words, staged / words.name)
        staged.rename(folder)  # replaces an empty folder
    return resolve(ModelConfig(name=str(folder)))


def _write_preprocessor(folder: Path, image_size: int) -> Path:
    tree = {
        "do_center_crop": False,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": CLIP_MEAN,
        "image_processor_type": "ChineseCLIPImageProcessor",
        "image_std": CLIP_STD,
        "resample": _BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"height": image_size, "width": image_size},
    }
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
    return path
