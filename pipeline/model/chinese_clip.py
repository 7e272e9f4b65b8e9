"""Pixels and texts in, unit vectors out: the Chinese CLIP encoder that an embedder runs.

Normalisation of the pixels happens here, beside the model, so that one byte a value travels and not four. Pixels are
normalised in float32 and then cast to the model's dtype; vectors are cast to float32 and then L2-normalised.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pipeline.model.arithmetic import choose_device, choose_dtype, device_name, set_threads
from pipeline.model.batching import Passes
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.memory import TEXTS_PER_IMAGE, default_rows
from pipeline.model.tokenizer import Tokenizer, Tokens
from pipeline.model.towers.build import Towers, load_towers
from pipeline.vocabulary import TextOverflow

__all__ = ["ChineseClip", "default_batch_size", "set_threads"]

# Pixels from shared memory are read-only, and they are only read here.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class TextVectors(NamedTuple):
    """(T, D) float32 vectors of norm 1, and (T,) which texts have more tokens than the model takes."""

    vectors: npt.NDArray[np.float32]
    too_long: npt.NDArray[np.bool_]


class ChineseClip:
    """Encodes images and texts into one space.

    Attributes:
        dim: length D of a vector.
        image_size: images are N x N pixels.
        logit_scale: the trained factor on cosines, already exponentiated (100 in the released models). Not applied.
        parameters: trained values of the whole model, and of its image tower with its projection.
        device, device_name, dtype: where and how it computes.
        text_overflow: what is done with a text that is too long; "quarantine" cuts it and says so.
    """

    def __init__(
        self,
        towers: Towers,
        tokenizer: Tokenizer,
        spec: ModelSpec,
        batch_size: int,
        text_overflow: TextOverflow = "truncate",
    ) -> None:
        self.text_overflow = text_overflow
        self.dim, self.image_size = spec.dim, spec.image_size
        self.device, self.dtype, self.logit_scale = towers.device, towers.dtype, towers.logit_scale
        self.parameters = towers.parameters
        self.device_name = device_name(towers.device)
        self._towers = towers
        self._tokenizer = tokenizer
        self._image_passes, self._text_passes = Passes(batch_size), Passes(batch_size * TEXTS_PER_IMAGE)
        mean, std = (torch.tensor(values, dtype=torch.float32) for values in (spec.image_mean, spec.image_std))
        self._scale = (1 / (255 * std)).view(1, 3, 1, 1).to(self.device)
        self._shift = (mean / std).view(1, 3, 1, 1).to(self.device)

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | None = None,
        compile: bool = False,  # noqa: A002
        text_overflow: TextOverflow = "truncate",
    ) -> ChineseClip:
        """Load a checkpoint.

        Args:
            spec: what `checkpoints.resolve` found.
            dtype: "auto", "bf16", "fp16" or "fp32"; auto is bf16 where the hardware has it, else fp32.
            device: "cpu", "cuda", "cuda:1"; the first GPU, else the CPU, if not given.
            batch_size: images in one forward pass; `default_batch_size` if not given.
            compile: run the towers through torch.compile.
            text_overflow: what is done with texts that are too long.

        Raises:
            ModelError: the files are damaged, unsafe or do not fit together.
        """
        where = choose_device(device)
        tokenizer = Tokenizer.load(Path(spec.vocabulary_folder or spec.folder), spec.context_length)
        towers = load_towers(spec, where, choose_dtype(dtype, where), tokenizer.size)
        if compile:
            towers.compile()
        return cls(towers, tokenizer, spec, batch_size or default_batch_size(spec, str(where)), text_overflow)

    @property
    def batch_size(self) -> int:
        """Images in one forward pass; smaller than asked for once the memory did not suffice."""
        return self._image_passes.rows

    def encode_images(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(B, N, N, 3) uint8 RGB -> (B, D) float32 of norm 1. A row that is not finite is left so."""
        if not len(pixels):
            return np.empty((0, self.dim), dtype=np.float32)
        return self._unit_rows(
            self._image_passes.run(len(pixels), lambda part: self._towers.images(self._normalised(pixels[part])))
        )

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """T texts -> (T, D) float32 of norm 1, in their order. A row that is not finite is left so."""
        return self.embed_texts(texts).vectors

    def embed_texts(self, texts: Sequence[str]) -> TextVectors:
        """The same, and which of the texts have more tokens than the model takes."""
        words = self._tokenizer.words(texts) if texts else []
        too_long = np.array([len(ids) > self._tokenizer.room for ids in words], dtype=bool)
        if self.text_overflow != "mean-of-windows" or not too_long.any():
            return TextVectors(self._encode_words(words), too_long)
        windows = [self._tokenizer.windows(ids) for ids in words]
        vectors = self._encode_words([window for some in windows for window in some])
        starts = np.cumsum([0, *(len(some) for some in windows[:-1])])
        # Windows of a text are equally long, so that none weighs more.
        means = np.add.reduceat(vectors, starts) / np.array([[len(some)] for some in windows], dtype=np.float32)
        return TextVectors(self._unit_rows(torch.from_numpy(means)), too_long)

    def _encode_words(self, words: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """T texts as token ids -> (T, D) float32 of norm 1."""
        if not words:
            return np.empty((0, self.dim), dtype=np.float32)
        order = np.argsort([len(ids) for ids in words], kind="stable")  # alike lengths together: less padding
        ordered = [words[i] for i in order]
        rows = self._unit_rows(
            self._text_passes.run(len(words), lambda part: self._towers.texts(self._tokens(ordered[part])))
        )
        vectors = np.empty_like(rows)
        vectors[order] = rows
        return vectors

    def _normalised(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(B, N, N, 3) uint8 -> (B, 3, N, N) in the model's dtype on its device: (value / 255 - mean) / std."""
        levels = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            levels = levels.pin_memory().to(self.device, non_blocking=True)
        return levels.permute(0, 3, 1, 2).float().mul_(self._scale).sub_(self._shift).to(self.dtype)

    def _tokens(self, words: Sequence[Sequence[int]]) -> Tokens:
        ids, mask = self._tokenizer.tokens(words)
        return Tokens(ids.to(self.device), mask.to(self.device))

    @staticmethod
    def _unit_rows(vectors: torch.Tensor) -> npt.NDArray[np.float32]:
        rows: npt.NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
        return rows


def default_batch_size(spec: ModelSpec, device: str) -> int:
    """Images in one forward pass where nobody chose."""
    return default_rows(spec.image_size, device.startswith("cuda"))
