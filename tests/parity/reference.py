"""Compute features with the authors' own package. Runs only in the parity environment (`scripts/parity`).

In: a `.pt` file in their format, its sizes as JSON, a vocabulary, image files and texts. Out: a `.npz` with `images`,
`texts` (both of unit length) and `logit_scale`. Every step is `cn_clip`'s: its `CLIP` class in true float32
(`load_from_name` would round the weights to float16 first), its image transform, its tokenizer, and the text
preprocessing of its datasets.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

# torchvision built for another torch lacks two compiled operators, which its import needs but nothing calls.
_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import cn_clip.clip  # noqa: E402
from cn_clip.clip.bert_tokenizer import FullTokenizer  # noqa: E402
from cn_clip.clip.model import CLIP, convert_state_dict  # noqa: E402
from cn_clip.clip.utils import image_transform, tokenize  # noqa: E402
from PIL import Image  # noqa: E402

CONTEXT_LENGTH = 52


def load(path: Path, sizes: dict) -> CLIP:
    """The authors' model with the file's weights, loaded strictly."""
    model = CLIP(
        embed_dim=sizes["dim"],
        image_resolution=sizes["image"],
        vision_layers=sizes["stages"] or sizes["layers"],
        vision_width=sizes["width"],
        vision_patch_size=sizes["patch"],
        vision_head_width=sizes["head_width"],
        vocab_size=sizes["vocabulary"],
        text_attention_probs_dropout_prob=0.1,
        text_hidden_act="gelu",
        text_hidden_dropout_prob=0.1,
        text_hidden_size=sizes["text_width"],
        text_initializer_range=0.02,
        text_intermediate_size=sizes["text_hidden"],
        text_max_position_embeddings=sizes["positions"],
        text_num_attention_heads=sizes["text_width"] // 64,
        text_num_hidden_layers=sizes["text_layers"],
        text_type_vocab_size=2,
    )
    tree = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    if any("Wqkv" in name for name in tree):
        tree = convert_state_dict(tree)
    state = {name.removeprefix("module."): value.float() for name, value in tree.items() if "bert.pooler" not in name}
    model.load_state_dict(state)
    return model.eval()


def preprocess_text(text: str) -> str:
    """Preprocess a text as the datasets of the published figures do before tokenizing."""
    return text.lower().replace("“", '"').replace("”", '"')


def unit(features: torch.Tensor) -> np.ndarray:
    """Rows of length 1."""
    return (features / features.norm(dim=-1, keepdim=True)).numpy()


@torch.no_grad()
def main() -> None:
    """Read a case and write its features."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", type=Path, help="JSON: checkpoint, sizes, vocabulary (null: theirs), images, texts")
    parser.add_argument("out", type=Path, help=".npz")
    given = parser.parse_args()
    case = json.loads(given.case.read_text(encoding="utf-8"))
    if case["vocabulary"]:
        tokenizer = FullTokenizer(vocab_file=case["vocabulary"])
        cn_clip.clip._tokenizer = tokenizer
        sys.modules["cn_clip.clip.utils"]._tokenizer = tokenizer
    model = load(Path(case["checkpoint"]), case["sizes"])
    transform = image_transform(case["sizes"]["image"])
    images = torch.cat([model.encode_image(transform(Image.open(path))[None]) for path in case["images"]])
    tokens = tokenize([preprocess_text(text) for text in case["texts"]], context_length=CONTEXT_LENGTH)
    texts = torch.cat([model.encode_text(row[None]) for row in tokens])
    scale = float(model.logit_scale.exp())
    np.savez(given.out, images=unit(images), texts=unit(texts), logit_scale=np.float32(scale))


if __name__ == "__main__":
    main()
