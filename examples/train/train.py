"""Train a small image-text model on the tars of `hanclip filter --as tars`: PyTorch and Pillow, nothing of hanclip.

Usage: python train.py TARS [--steps 100] [--batch 128] [--workers 2]

The last tar is held out. Reading is the part to keep: which process reads which tars, in what order, and how members of
a tar become samples. The two towers are toys that learn something within a minute on a CPU.
"""

from __future__ import annotations

import argparse
import io
import random
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

PIXELS, CHARACTERS, WIDTH = 32, 8192, 128
#: Pixels (3, PIXELS, PIXELS) and caption.
Pair = tuple[torch.Tensor, str]


def samples(tar: Path) -> Iterator[dict[str, bytes]]:
    """The samples of a tar, by member suffix: `png`, `txt`, `json`. Members of one sample follow each other."""
    key, sample = "", {}
    with tarfile.open(tar, "r|") as members:  # a stream: works for pipes and buckets, too
        for member in members:
            name, _, suffix = member.name.partition(".")
            if name != key and sample:
                yield sample
                sample = {}
            file = members.extractfile(member)
            key, sample[suffix] = name, file.read() if file else b""
    if sample:
        yield sample


def pair(sample: dict[str, bytes]) -> Pair:
    """A sample as the model takes it. The suffix says nothing of the encoding: Pillow looks at the bytes."""
    with Image.open(io.BytesIO(sample["png"])) as image:
        flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        pixels = torch.from_numpy(np.array(flat.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)))
    return pixels.permute(2, 0, 1).float() / 127.5 - 1, sample["txt"].decode()


class Tars(IterableDataset[Pair]):
    """Pairs of tars, again and again, in another order each time; each worker reads its own tars."""

    def __init__(self, tars: list[Path], seed: int = 0, buffer: int = 1024) -> None:
        self._tars, self._seed, self._buffer = tars, seed, buffer

    def __iter__(self) -> Iterator[Pair]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        own = self._tars[number::workers] or self._tars
        chance = random.Random(self._seed * 1000 + number)
        while True:
            order = chance.sample(own, len(own))
            yield from shuffled(map(pair, chain.from_iterable(map(samples, order))), self._buffer, chance)


def shuffled(pairs: Iterable[Pair], buffer: int, chance: random.Random) -> Iterator[Pair]:
    """The pairs in another order. Tars keep the order of their source, which puts likes beside likes."""
    held: list[Pair] = []
    for one in pairs:
        if len(held) < buffer:
            held.append(one)
        else:
            place = chance.randrange(buffer)
            held[place], one = one, held[place]
            yield one
    chance.shuffle(held)
    yield from held


def together(pairs: list[Pair]) -> tuple[torch.Tensor, list[str]]:
    """A batch."""
    return torch.stack([pixels for pixels, _ in pairs]), [text for _, text in pairs]


def towers() -> tuple[nn.Module, nn.Module]:
    """Of images, (B, 3, PIXELS, PIXELS), and of bags of characters; both to (B, WIDTH)."""
    blocks = [(3, 32), (32, 64), (64, 128)]
    layers = [part for a, b in blocks for part in (nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.GELU())]
    images = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * (PIXELS // 8) ** 2, WIDTH))
    return images, nn.EmbeddingBag(CHARACTERS, WIDTH)


def embed_texts(tower: nn.Module, texts: list[str]) -> torch.Tensor:
    """Vectors of the characters and the pairs of characters of each text."""
    grams = [[*text, *map("".join, pairwise(text))] for text in texts]
    numbers = [zlib.crc32(gram.encode()) % CHARACTERS for one in grams for gram in one]
    starts = np.cumsum([0, *map(len, grams[:-1])])
    return functional.normalize(tower(torch.tensor(numbers), torch.from_numpy(starts)), dim=-1)


def loss_of(images: torch.Tensor, texts: torch.Tensor, captions: list[str], scale: torch.Tensor) -> torch.Tensor:
    """Contrastive in both directions. Rows with one caption are no negatives of each other."""
    fits = torch.tensor([[a == b for b in captions] for a in captions]).float()
    fits /= fits.sum(1, keepdim=True)
    logits = scale.exp() * images @ texts.T
    return (functional.cross_entropy(logits, fits) + functional.cross_entropy(logits.T, fits)) / 2


def recall(images: nn.Module, texts: nn.Module, held_out: list[Pair], among: int = 10) -> float:
    """Share of captions that have their picture among the nearest ones."""
    pixels, captions = together(held_out)
    with torch.no_grad():
        scores = embed_texts(texts, captions) @ functional.normalize(images(pixels), dim=-1).T
    best = scores.topk(min(among, len(captions))).indices.tolist()
    return float(np.mean([any(captions[i] == text for i in row) for text, row in zip(captions, best, strict=True)]))


def main() -> None:
    """Train, and print the loss and the recall on the last tar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tars", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.manual_seed(0)
    *paths, last = sorted(given.tars.glob("*.tar"))
    held_out = [pair(sample) for sample in samples(last)]
    images, texts = towers()
    scale = nn.Parameter(torch.tensor(2.66))
    optimizer = torch.optim.AdamW([*images.parameters(), *texts.parameters(), scale], lr=1e-3, weight_decay=0.01)
    batches = DataLoader(Tars(paths), given.batch, num_workers=given.workers, collate_fn=together)
    print(f"{len(paths)} tars to train on, {len(held_out)} pairs held out")
    for step, (pixels, captions) in enumerate(islice(batches, given.steps), 1):
        loss = loss_of(functional.normalize(images(pixels), dim=-1), embed_texts(texts, captions), captions, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (1, given.steps) or step % 20 == 0:
            images.eval()
            print(
                f"step {step}: loss {loss.item():.3f}, "
                f"recall@10 on held-out pairs {recall(images, texts, held_out):.1%}"
            )
            images.train()


if __name__ == "__main__":
    main()
