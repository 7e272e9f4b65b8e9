"""Evaluate a saved demo model: recall of drawings by their Chinese names, and of names by their drawings.

In: a model folder and the emoji packages. Out: recall at 1, 5 and 10 in both directions, over all drawings
of the held-out vendor, as JSON on standard output.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from augment import on_white
from demo_model import IMAGE_SIDE_PX, tokenizer, tokens
from emoji_sources import DEFAULT_CACHE
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from training_data import all_concepts, held_out_corpus
from transformers import BertTokenizer, ChineseCLIPModel

HERE = Path(__file__).parent
RANKS = (1, 5, 10)
CHUNK = 512


@dataclass(frozen=True)
class Recalls:
    """Recall at 1, 5 and 10, in percent."""

    text_to_image: tuple[float, ...]
    image_to_text: tuple[float, ...]


def main() -> None:
    """Parse the command line and print the recalls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the downloaded npm packages")
    parser.add_argument("--model", type=Path, default=HERE / "model")
    options = parser.parse_args()
    known = all_concepts(options.cache)
    held_out = held_out_corpus(known, options.cache, IMAGE_SIDE_PX)
    model = ChineseCLIPModel.from_pretrained(options.model, dtype=torch.float32).eval()
    found = recalls(model, tokenizer(options.model), held_out.pixels, [concept.name for concept in known])
    sys.stdout.write(json.dumps({"candidates": len(known), **asdict(found)}, indent=2) + "\n")


def recalls(model: ChineseCLIPModel, tokenizer: BertTokenizer, pixels: NDArray[np.uint8], names: list[str]) -> Recalls:
    """Recalls in both directions; row i of `pixels` matches `names[i]`."""
    with torch.inference_mode():
        parts = torch.from_numpy(pixels).split(CHUNK)
        images = [model.get_image_features(on_white(part)).pooler_output for part in parts]
        batches = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
        texts = [model.get_text_features(**tokens(batch, tokenizer)).pooler_output for batch in batches]
    image, text = functional.normalize(torch.cat(images), dim=-1), functional.normalize(torch.cat(texts), dim=-1)
    return Recalls(_found(text @ image.T), _found(image @ text.T))


def _found(similarities: Tensor) -> tuple[float, ...]:
    """Percent of rows in which the diagonal element ranks within 1, 5 and 10."""
    rank = (similarities > similarities.diagonal().unsqueeze(1)).sum(1)
    return tuple(round(100 * (rank < best).float().mean().item(), 1) for best in RANKS)


if __name__ == "__main__":
    main()
