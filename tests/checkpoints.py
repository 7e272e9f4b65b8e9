"""Writes checkpoints with random weights in the formats in which Chinese CLIP is released, for tests of any module.

    folder = write_checkpoint(tmp_path / "model")            # tiny: 32 x 32 pixels, 16 numbers a vector, 5 MB
    folder = write_checkpoint(folder, shape="vit-b-16")      # the shape of the released base model, 750 MB

The weights are wider than a fresh model's, so that different images and texts get clearly different vectors.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, Literal

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
VOCABULARY_SIZE = 21128

_TINY = {
    "projection_dim": 16,
    "text_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    },
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 16,
    },
}
_VIT_B_16 = {
    "projection_dim": 512,
    "text_config": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "vision_config": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 16,
        "projection_dim": 512,
    },
}
#: The released models' pixels through nearly no model: what is left is reading, decoding and moving them.
_TINY_224 = {**_TINY, "vision_config": {**_TINY["vision_config"], "image_size": 224, "patch_size": 56}}  # type: ignore[dict-item]
_SHAPES: dict[str, dict[str, Any]] = {"tiny": _TINY, "tiny-224": _TINY_224, "vit-b-16": _VIT_B_16}


def write_checkpoint(
    folder: Path,
    shape: Literal["tiny", "tiny-224", "vit-b-16"] = "tiny",
    weights: Literal["safetensors", "bin", "sharded"] = "safetensors",
    seed: int = 0,
) -> Path:
    """Write a checkpoint into `folder`, which is made if need be, and return it.

    "safetensors" and "sharded" are as transformers saves them now; "bin" is the released layout: `pytorch_model.bin`
    with the keys that old versions wrote, no tokenizer_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = random_model(shape, seed)
    model.config.save_pretrained(folder)
    write_small_files(folder, model.config.vision_config.image_size)
    if weights == "bin":
        _save_old_style(model, folder / "pytorch_model.bin")
    else:
        shard_size = "1MB" if weights == "sharded" else "50GB"
        model.save_pretrained(folder, max_shard_size=shard_size)
    return folder


def random_model(shape: str, seed: int) -> Any:
    """A `ChineseCLIPModel` in eval mode, the trained logit scale included."""
    import torch
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    sizes = _SHAPES[shape]
    text = {**sizes["text_config"], "vocab_size": VOCABULARY_SIZE}
    torch.manual_seed(seed)
    model = ChineseCLIPModel(ChineseCLIPConfig(**{**sizes, "text_config": text})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3 if "embeddings" in name else 1.5 / parameter.shape[1] ** 0.5)
        model.logit_scale.fill_(4.6052)
    return model


def write_small_files(folder: Path, image_size: int) -> None:
    """vocab.txt and preprocessor_config.json as the released models have them."""
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    preprocessor = {
        "do_center_crop": False,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "ChineseCLIPFeatureExtractor",
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": 3,
        "size": {"height": image_size, "width": image_size},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2), encoding="utf-8")


def vocabulary() -> list[str]:
    """A BERT vocabulary of characters, the special tokens where the real one has them; no “ ” and no ellipsis."""
    letters = string.ascii_lowercase + string.digits
    special = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *string.punctuation, *"，。！？：；（）￥"]
    han = (chr(point) for point in range(0x4E00, 0xA000))
    return [*pieces, *han][:VOCABULARY_SIZE]


def _save_old_style(model: Any, path: Path) -> None:
    import torch

    state = dict(model.state_dict())
    width = model.config.text_config.hidden_size
    for tower in ("text_model.embeddings", "vision_model.embeddings"):
        state[f"{tower}.position_ids"] = torch.arange(8)[None]
    state["text_model.pooler.dense.weight"] = torch.zeros(width, width)
    state["text_model.pooler.dense.bias"] = torch.zeros(width)
    torch.save(state, path)
