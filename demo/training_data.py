"""Training data of the demo model: drawings as one uint8 array, and Chinese texts that describe them.

In: `emoji_sources`. Out: a `Corpus` of RGBA pixels (N, 4, side, side) with the concept of each, rendered
once and cached on disk, and `TextSampler`, which generates a new text for a concept each time and knows all
concepts that the text fits (笑脸 is a keyword of dozens of faces, which must not count as negatives).
"""

import io
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from emoji_sources import HELD_OUT, RASTER_PACKAGES, SVG_PACKAGES, Concept, concepts, drawings
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

MONOCHROME = {"fluent-high-contrast", "emojione-monotone"}
TONED_SHARE = 0.25
FLIPPABLE_GROUPS = {"动物与自然", "食物和饮料"}
TEMPLATES = (
    "一个{}",
    "{}图标",
    "“{}”图标",
    "{}的图片",
    "一张{}的照片",
    "一张{}的图片",
    "这是{}",
    "{}，表情符号",
)


@dataclass(frozen=True)
class Corpus:
    """Drawings with their concepts; `weights` are sampling weights among the drawings of a concept."""

    pixels: NDArray[np.uint8]
    concept_of: NDArray[np.int64]
    weights: NDArray[np.float64]

    def by_concept(self, count: int) -> list[tuple[list[int], list[float]]]:
        """The indices and weights of the drawings of each concept."""
        table: list[tuple[list[int], list[float]]] = [([], []) for _ in range(count)]
        for index, (concept, weight) in enumerate(zip(self.concept_of, self.weights, strict=True)):
            table[concept][0].append(index)
            table[concept][1].append(float(weight))
        return table


def training_corpus(known: list[Concept], cache: Path, side: int) -> Corpus:
    """All drawings of all vendors except the held-out one."""
    vendors = [vendor for vendor in [*RASTER_PACKAGES, *SVG_PACKAGES] if vendor != HELD_OUT]
    parts = [_vendor_corpus(vendor, known, cache, side) for vendor in vendors]
    pixels, concept_of, weights = zip(*((p.pixels, p.concept_of, p.weights) for p in parts), strict=True)
    return Corpus(np.concatenate(pixels), np.concatenate(concept_of), np.concatenate(weights))


def held_out_corpus(known: list[Concept], cache: Path, side: int) -> Corpus:
    """The held-out vendor's drawings without skin tones, one per concept, in concept order."""
    corpus = _vendor_corpus(HELD_OUT, known, cache, side, toned=False)
    order = np.argsort(corpus.concept_of)
    return Corpus(corpus.pixels[order], corpus.concept_of[order], corpus.weights[order])


def all_concepts(cache: Path) -> list[Concept]:
    """All concepts in Unicode order; the position of a concept is its class number."""
    return list(concepts(cache).values())


def _vendor_corpus(vendor: str, known: list[Concept], cache: Path, side: int, toned: bool = True) -> Corpus:
    path = cache / f"{vendor}-{side}{'' if toned else '-plain'}.npz"
    if not path.exists():
        number = {concept.codepoints: index for index, concept in enumerate(known)}
        found = [d for d in drawings(vendor, cache) if d.codepoints in number and (toned or not d.toned)]
        pixels = np.stack([_pixels(drawing.image, side) for drawing in found])
        classes = np.array([number[drawing.codepoints] for drawing in found], dtype=np.int64)
        np.savez(path, pixels=pixels, classes=classes, toned=np.array([drawing.toned for drawing in found]))
    with np.load(path) as arrays:
        weights = _weights(arrays["classes"], arrays["toned"], 0.3 if vendor in MONOCHROME else 1.0)
        return Corpus(arrays["pixels"], arrays["classes"], weights)


def _weights(classes: NDArray[np.int64], toned: NDArray[np.bool_], vendor: float) -> NDArray[np.float64]:
    """Sampling weights: per concept, plain drawings share the weight `vendor`, toned ones `TONED_SHARE` of it."""
    tally: dict[tuple[int, bool], int] = defaultdict(int)
    for key in zip(classes.tolist(), toned.tolist(), strict=True):
        tally[key] += 1
    pairs = zip(classes.tolist(), toned.tolist(), strict=True)
    return np.array([vendor * (TONED_SHARE if tone else 1.0) / tally[number, tone] for number, tone in pairs])


def _pixels(image: bytes, side: int) -> NDArray[np.uint8]:
    """RGBA (4, side, side) uint8, colours premultiplied by alpha so that they can be interpolated."""
    picture = Image.open(io.BytesIO(image)).convert("RGBA")
    width, height = picture.size
    square = Image.new("RGBA", (max(picture.size),) * 2)
    square.paste(picture, ((square.width - width) // 2, (square.height - height) // 2))
    small = square.convert("RGBa").resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.frombuffer(small.tobytes(), np.uint8).reshape(side, side, 4).transpose(2, 0, 1))


class TextSampler:
    """Generates texts for concepts, and knows which concepts each text fits."""

    def __init__(self, known: list[Concept], rng: random.Random) -> None:
        self.known = known
        self.rng = rng
        words = sorted({word for concept in known for word in (concept.name, concept.group, *concept.keywords)})
        self.number = {word: index for index, word in enumerate(words)}
        self.fits = torch.zeros(len(words), len(known), dtype=torch.bool)
        for index, concept in enumerate(known):
            for word in (concept.name, concept.group, *concept.keywords):
                self.fits[self.number[word], index] = True

    def draw(self, classes: list[int]) -> tuple[list[str], Tensor]:
        """A text for each class, and a boolean tensor (texts, all classes): whether the text fits the class."""
        texts, words = zip(*(self._describe(self.known[index]) for index in classes), strict=True)
        return list(texts), self.fits[[self.number[word] for word in words]]

    def _describe(self, concept: Concept) -> tuple[str, str]:
        """A text, and the word that determines which concepts it fits."""
        choice = self.rng.random()
        keywords = self.rng.sample(concept.keywords, min(len(concept.keywords), self.rng.choice((1, 2, 2, 3, 6))))
        if choice < 0.05:
            return self._framed(concept.group), concept.group
        if choice < 0.25 and keywords:
            return self._framed(keywords[0]), keywords[0]
        if choice < 0.5 and keywords:
            return self._listed(concept.name, keywords), concept.name
        return self._framed(concept.name), concept.name

    def _framed(self, words: str) -> str:
        return self.rng.choice(TEMPLATES).format(words) if self.rng.random() < 0.3 else words

    def _listed(self, name: str, keywords: list[str]) -> str:
        if self.rng.random() < 0.5:
            return f"{name}，{'、'.join(keywords)}"
        return f"{name}（{' '.join(keywords)}）"
