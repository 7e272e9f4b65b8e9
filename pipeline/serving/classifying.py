"""Zero-shot classes for images of requests, by the prompts and the arithmetic of `hanclip classify`.

The vectors of prompts are kept: a client sends the same labels with every image.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.prompts import class_means, class_prompts
from pipeline.curation.classify.run import Classifier, predict
from pipeline.curation.classify.templates import DEFAULT_SET, SLOT, shipped_sets
from pipeline.curation.vectors import Vectors
from pipeline.serving.embedding import Embedded, Embedding, matrix
from pipeline.serving.errors import ErrorCode, refused, too_large, unusable
from pipeline.serving.inputs.items import Image, Item, ItemParser, Text, too_many
from pipeline.serving.settings import RequestLimits
from pipeline.sources.texts import is_whole
from pipeline.vocabulary import Reason

#: Vectors of prompts that are kept: 16 to 64 MB. Their texts take as much at most, as no longer ones are kept.
_KEPT, _KEPT_CHARACTERS = 16_384, 1024
_MOST_TEMPLATES = 256
#: A label comes back with every image. The model reads 52 tokens.
_MOST_LABEL_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Classification:
    """Images to classify.

    Attributes:
        prompts: the texts of all classes, each with the number of its class.
        top: how many of the best classes are wanted.
    """

    images: Sequence[Image]
    classes: Classes
    prompts: Sequence[tuple[int, Text]]
    top: int

    @property
    def items(self) -> Sequence[Item]:
        """Its images."""
        return self.images


@dataclass(frozen=True, slots=True)
class RankedClass:
    """A class of an image: its number, its probability among all classes, and its cosine."""

    number: int
    probability: float
    cosine: float


def classes_of(labels: Sequence[str | Sequence[str]], param: str, parser: ItemParser) -> Classes:
    """The classes of a request: names, or lists of names. Raises ApiError."""
    if len(labels) < 2:
        message = f"{param} has {len(labels)} labels: with fewer than two, every probability is 1. Use /v1/similarity."
        raise refused(ErrorCode.INVALID_REQUEST, message, param)
    if len(labels) > parser.limits.max_texts:
        raise too_many(param, len(labels), parser.limits.max_texts, "labels")
    synonyms = []
    for place, one in enumerate(labels):
        names = parser.texts([one] if isinstance(one, str) else list(one), f"{param}[{place}]")
        if (long := next((name for name in names if len(name.text) > _MOST_LABEL_CHARACTERS), None)) is not None:
            raise too_large(long.param, "the label", _MOST_LABEL_CHARACTERS, "characters")
        synonyms.append(tuple(dict.fromkeys(name.text for name in names)))
    return Classes(tuple(synonyms))


def templates_of(given: str | Sequence[str] | None, param: str) -> tuple[str, ...]:
    """Templates: the name of a set that ships, or templates themselves; general if not given. Raises ApiError."""
    sets = shipped_sets()
    words = [given] if isinstance(given, str) else given or [DEFAULT_SET]
    found = [template for word in words for template in (sets[word].templates if word in sets else (word,))]
    wrong = next((template for template in found if SLOT not in template), None)
    if wrong is not None:
        message = (
            f"{wrong!r} is neither a set of templates ({', '.join(sets)}) nor has it {SLOT} in place of the label."
        )
        raise refused(ErrorCode.INVALID_REQUEST, f"{param}: {message} Correct it.", param)
    if not all(map(is_whole, found)):
        raise unusable(Reason.BAD_TEXT, param)
    if len(found) > _MOST_TEMPLATES:
        raise too_many(param, len(found), _MOST_TEMPLATES, "templates")
    return tuple(found)


def prompts_of(classes: Classes, templates: Sequence[str], param: str, limits: RequestLimits) -> list[tuple[int, Text]]:
    """What is encoded for the classes. Raises ApiError if that is too much."""
    count = sum(map(len, classes.synonyms)) * len(templates)
    if count > limits.max_texts:
        raise too_many(param, count, limits.max_texts, "prompts (labels times templates)")
    # Before they are made: a template may have the label in it any number of times.
    if max(_lengths(classes, templates)) > limits.max_text_chars:
        raise too_large(param, "a label in its template", limits.max_text_chars, "characters")
    if sum(_lengths(classes, templates)) > limits.max_body_bytes:
        raise too_large(param, "the text of all prompts", limits.max_body_bytes, "characters")
    return [(number, Text(f"{param}[{number}]", text)) for number, text in class_prompts(classes, templates)]


def _lengths(classes: Classes, templates: Sequence[str]) -> Iterator[int]:
    """The characters of each prompt."""
    parts = [(len(template), template.count(SLOT)) for template in templates]
    for names in classes.synonyms:
        for name in names:
            yield from (length + slots * (len(name) - len(SLOT)) for length, slots in parts)


class Classifying:
    """Classifies images.

    Args:
        embedding: makes the vectors.
        logit_scale: factor of the cosines under the softmax.
        threads: where probabilities are computed.
    """

    def __init__(self, embedding: Embedding, logit_scale: float, threads: Executor) -> None:
        self._embedding, self._scale, self._threads = embedding, logit_scale, threads
        self._kept: OrderedDict[str, Embedded] = OrderedDict()

    async def classify(self, asked: Classification) -> tuple[list[list[RankedClass]], list[Embedded]]:
        """The best classes of each image, best first, and its images and prompts. Raises ApiError."""
        wanted = {item.text: item for _, item in asked.prompts}
        prompts = {text: self._kept[text] for text in wanted if text in self._kept}
        new = [item for text, item in wanted.items() if text not in prompts]
        embedded = await self._embedding.vectors([*asked.images, *new])
        images, texts = embedded[: len(asked.images)], embedded[len(asked.images) :]
        prompts.update(zip((item.text for item in new), texts, strict=True))
        self._keep(prompts)
        ranked = await asyncio.get_running_loop().run_in_executor(
            self._threads, _ranked, asked, matrix(images), prompts, self._scale
        )
        return ranked, [*images, *prompts.values()]

    def _keep(self, prompts: Mapping[str, Embedded]) -> None:
        for text, embedded in prompts.items():
            if len(text) <= _KEPT_CHARACTERS:
                self._kept[text] = embedded
                self._kept.move_to_end(text)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _ranked(
    asked: Classification, images: Vectors, prompts: Mapping[str, Embedded], logit_scale: float
) -> list[list[RankedClass]]:
    sums = np.zeros((len(asked.classes), images.shape[1]), np.float64)
    for number, item in asked.prompts:
        sums[number] += prompts[item.text].vector
    weights = class_means(asked.classes, sums)
    predicted = predict(images, Classifier(asked.classes, weights, logit_scale, asked.top))
    rows = zip(predicted.classes[:, : asked.top].tolist(), predicted.probabilities, images @ weights.T, strict=True)
    return [
        [RankedClass(number, float(probabilities[number]), float(cosines[number])) for number in numbers]
        for numbers, probabilities, cosines in rows
    ]
