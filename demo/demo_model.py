"""The demo model: a ChineseCLIPModel small enough for git, in the file layout of the released checkpoints.

In: the texts of its vocabulary, and a trained model. Out: `config.json`, `preprocessor_config.json`,
`vocab.txt` and float16 `model.safetensors`, so that the code that loads OFA-Sys/chinese-clip-* loads it too.
"""

import json
import string
from collections.abc import Iterable
from pathlib import Path

import torch
from augment import CLIP_MEAN, CLIP_STD
from torch import Tensor
from transformers import BertTokenizer, ChineseCLIPConfig, ChineseCLIPModel

IMAGE_SIDE_PX = 64
PATCH_SIDE_PX = 8
MAX_TOKENS = 52
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def new_model(vocabulary_size: int) -> ChineseCLIPModel:
    """A model with random weights: 2.5 M parameters, most in the image tower, which has the harder task."""
    text = {
        "vocab_size": vocabulary_size, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 320, "max_position_embeddings": 64, "type_vocab_size": 2,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "image_size": IMAGE_SIDE_PX, "patch_size": PATCH_SIDE_PX, "hidden_size": 192, "num_hidden_layers": 5,
        "num_attention_heads": 4, "intermediate_size": 576, "projection_dim": 128,
    }  # fmt: skip
    config = ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    config._attn_implementation = "eager"  # on CPU the fused kernel's backward pass is slower at this size
    return ChineseCLIPModel(config)


def vocabulary(texts: Iterable[str]) -> list[str]:
    """Special tokens, then ASCII with continuations, then every character of the texts."""
    letters = string.ascii_lowercase + string.digits
    characters = sorted({character for text in texts for character in text.lower() if not character.isspace()})
    pieces = [
        *SPECIAL_TOKENS,
        *letters,
        *string.punctuation,
        *(f"##{letter}" for letter in letters),
        *characters,
    ]
    return list(dict.fromkeys(pieces))


def tokenizer(folder: Path) -> BertTokenizer:
    """The tokenizer of a saved model."""
    return BertTokenizer.from_pretrained(folder, do_lower_case=True)


def tokens(texts: list[str], tokenizer: BertTokenizer) -> dict[str, Tensor]:
    """Token ids and mask, with quotes folded and texts truncated as in hanclip."""
    folded = [text.replace("“", '"').replace("”", '"') for text in texts]
    batch = tokenizer(
        folded,
        padding=True,
        truncation=True,
        max_length=MAX_TOKENS,
        split_special_tokens=True,
        return_tensors="pt",
    )
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def save_vocabulary(folder: Path, pieces: list[str]) -> None:
    """Write `vocab.txt`: one token per line, whose index is the token id."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")


def save_model(folder: Path, model: ChineseCLIPModel) -> None:
    """Write configuration, preprocessing and float16 weights next to the vocabulary."""
    for part in (model.config.text_config, model.config.vision_config):
        part.dtype = None  # otherwise the towers keep the dtype that they were loaded with
    model.to(torch.float16).save_pretrained(folder)
    preprocessing = {
        "do_resize": True, "size": {"height": IMAGE_SIDE_PX, "width": IMAGE_SIDE_PX}, "resample": 3,
        "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255, "do_convert_rgb": True,
        "do_normalize": True, "image_mean": CLIP_MEAN, "image_std": CLIP_STD,
        "image_processor_type": "ChineseCLIPImageProcessor",
    }  # fmt: skip
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(preprocessing, indent=2) + "\n", encoding="utf-8")
