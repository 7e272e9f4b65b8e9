"""Text vectors without hanclip: transformers' model and tokenizer alone, every text padded to all 52 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(__file__).parents[1] / "demo" / "model"


@cache
def _loaded() -> tuple[Any, Any]:
    import torch
    from transformers import BertTokenizer, ChineseCLIPModel

    model = ChineseCLIPModel.from_pretrained(MODEL, dtype=torch.float32).eval()
    return model, BertTokenizer.from_pretrained(MODEL, do_lower_case=True)


def text_vectors(texts: Sequence[str]) -> np.ndarray:
    """(T, D) float32 of norm 1."""
    import torch

    model, tokenizer = _loaded()
    folded = [text.lower().replace("“", '"').replace("”", '"') for text in texts]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(folded), 256):
            tokens = tokenizer(
                folded[start : start + 256],
                padding="max_length",
                truncation=True,
                max_length=52,
                return_token_type_ids=False,
                return_tensors="pt",
            )
            parts.append(model.get_text_features(**tokens).pooler_output)
    vectors = torch.cat(parts).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def logit_scale() -> float:
    """The factor that the model learned."""
    return float(_loaded()[0].logit_scale.detach().double().exp())


def parameter_counts() -> tuple[int, int]:
    """Of the whole model, and of its image tower with its projection."""
    model = _loaded()[0]
    visual = [*model.vision_model.parameters(), *model.visual_projection.parameters()]
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in visual)
