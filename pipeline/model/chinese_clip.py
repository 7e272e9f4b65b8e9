"""The Chinese CLIP encoder that an embedder runs: pixels and texts in, unit vectors out.

Texts are tokenized here; an engine computes features, which are L2-normalised here in float32. Several threads may
encode at once.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tokenizers
import torch

from pipeline import __version__
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.engine.choices import choose_kernels, use_usual_kernels
from pipeline.model.engine.contract import Device, Features, InputRows, Kind
from pipeline.model.engine.exact import PassShape
from pipeline.model.engine.open import device_for, engine_for, exact_device_for
from pipeline.model.hardware import choose_device, choose_dtype, device_name, instructions
from pipeline.model.memory import default_rows
from pipeline.model.tokenizer import MAX_WINDOWS, Tokenizer
from pipeline.model.towers.build import TowerFacts, load_towers
from pipeline.vocabulary import NOT_USED, VARYING_PASSES, TextOverflow

_Vectors = npt.NDArray[np.float32]

_SAMPLE_TEXT = "一只猫坐在红色的沙发上, a cat on a sofa"


class BegunTexts(NamedTuple):
    """T texts that were submitted.

    Attributes:
        vectors: waits for their (T, D) float32 of norm 1.
        too_long: (T,) whether a text has more tokens than the model takes.
        unknown: (T,) whether all of its tokens are [UNK].
        tokens: (T,) tokens that the model reads, with [CLS] and [SEP].
    """

    vectors: Callable[[], _Vectors]
    too_long: npt.NDArray[np.bool_]
    unknown: npt.NDArray[np.bool_]
    tokens: npt.NDArray[np.int64]


class Tuning(NamedTuple):
    """What is done when a model is loaded: for speed, which pays for itself in many passes, or for equal bits.

    Attributes:
        measure: find the fastest kernels of a GPU, if that was not done before.
        compile: run the towers through torch.compile.
        exact: compute passes of one shape with kernels that are not measured, see `pipeline.model.engine.exact`.
    """

    measure: bool = False
    compile: bool = False
    exact: bool = False


_NO_TUNING = Tuning()


class ChineseClip:
    """Encodes images and texts into one vector space.

    Attributes:
        dim: length D of a vector.
        image_size: images are N x N pixels.
        logit_scale: the trained factor on cosines, already exponentiated (100 in the released models). Not applied.
        parameters: number of trained values of the whole model, and of its image tower with its projection.
        device, device_name, dtype: where it computes, and in which number format.
        text_overflow: what is done with a text that is too long; "quarantine" truncates it and reports it.
        shape: of all passes, if they have one.
    """

    def __init__(
        self,
        towers: TowerFacts,
        device: Device,
        tokenizer: Tokenizer,
        spec: ModelSpec,
        text_overflow: TextOverflow = "truncate",
        shape: PassShape | None = None,
    ) -> None:
        self.text_overflow, self.shape = text_overflow, shape
        self.dim, self.image_size = spec.dim, spec.image_size
        self.device, self.dtype, self.logit_scale = towers.device, towers.dtype, towers.logit_scale
        self.parameters = towers.parameters
        self.device_name = device_name(towers.device)
        self._kernels = towers.kernels
        self._device, self._engine, self._tokenizer = device, engine_for(device), tokenizer
        # Its threads hold the weights. It waits for nobody here: a finalizer may run in any thread, at any time.
        weakref.finalize(self, self._engine.close, wait=False).atexit = False

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | None = None,
        tuning: Tuning = _NO_TUNING,
        text_overflow: TextOverflow = "truncate",
    ) -> ChineseClip:
        """Load a checkpoint.

        Args:
            spec: from `checkpoints.resolve`.
            dtype: "auto", "bf16", "fp16" or "fp32"; auto is bf16 if the hardware supports it, else fp32.
            device: such as "cpu", "cuda" or "cuda:1"; None: the first GPU, else the CPU.
            batch_size: images in one forward pass; None: `default_batch_size`. Not used if `tuning` is exact.
            tuning: what is done for speed, or for equal bits.
            text_overflow: what is done with texts that are too long.

        Raises:
            ModelError: the files are damaged, unsafe or do not match each other.
        """
        where = choose_device(device)
        tokenizer = Tokenizer.load(Path(spec.vocabulary), spec.rules, spec.context_length)
        towers = load_towers(spec, where, choose_dtype(dtype, where))
        if tuning.exact:
            shape = PassShape.on(where.type, spec.context_length)
            if where.type == "cuda":
                use_usual_kernels(towers)
            return cls(towers, exact_device_for(towers, spec, shape), tokenizer, spec, text_overflow, shape)
        rows = batch_size or default_batch_size(spec, str(where))
        if where.type == "cuda":
            choose_kernels(towers, spec, rows, tuning.measure)
        if tuning.compile:
            towers.compile()
        return cls(towers, device_for(towers, spec, rows), tokenizer, spec, text_overflow)

    @property
    def makers(self) -> dict[str, str]:
        """What computes the vectors, by the names that footers have for it (`pipeline.dataset.footer.MAKERS`)."""
        # Plain strings: torch's version has a class of its own, and a driver that unpickles one would import torch.
        return {
            "torch": str(torch.__version__),
            "towers": f"hanclip {__version__}" + (f" ({self._kernels})" if self._kernels else ""),
            "tokenizers": tokenizers.__version__,
            "device": self.device_name,
            "instructions": instructions(self.device),
            "passes": str(self.shape or VARYING_PASSES),
            "bits": self._bits if self.shape else NOT_USED,
        }

    @cached_property
    def _bits(self) -> str:
        """Digest of the vectors of a fixed image and text, which differs wherever other bits are computed."""
        places = np.arange(3 * self.image_size**2, dtype=np.uint64)
        pixels = (places**2 * 37 >> 5).astype(np.uint8).reshape(1, self.image_size, self.image_size, 3)
        vectors = np.concatenate([self.encode_images(pixels), self.encode_texts([_SAMPLE_TEXT])])
        return hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()[:16]

    @property
    def batch_size(self) -> int:
        """Images in one forward pass; reduced when the device ran out of memory."""
        return self._device.capacity("image")

    def encode_images(self, pixels: npt.NDArray[np.uint8]) -> _Vectors:
        """(B, N, N, 3) uint8 RGB -> (B, D) float32 of norm 1. Rows that are not finite stay so."""
        return self.begin_images(pixels)()

    def begin_images(self, pixels: npt.NDArray[np.uint8]) -> Callable[[], _Vectors]:
        """The same in two steps: submit the pixels, and what waits for their vectors."""
        return self._begin("image", pixels)

    def encode_texts(self, texts: Sequence[str]) -> _Vectors:
        """T texts -> (T, D) float32 of norm 1, in the same order. Rows that are not finite stay so."""
        return self.begin_texts(texts).vectors()

    def begin_texts(self, texts: Sequence[str]) -> BegunTexts:
        """The same in two steps, with what the tokenizer found."""
        room, unknown_id = self._tokenizer.room, self._tokenizer.unknown
        in_windows = self.text_overflow == "mean-of-windows"
        words = self._tokenizer.words(texts, room * MAX_WINDOWS if in_windows else room + 1) if texts else []
        too_long = np.array([len(ids) > room for ids in words], dtype=bool)
        unknown = np.array([set(ids) == {unknown_id} for ids in words], dtype=bool)
        read = room * MAX_WINDOWS if in_windows else room
        tokens = np.array([min(len(ids), read) + 2 for ids in words], dtype=np.int64)
        begin = self._begin_windows if in_windows and too_long.any() else self._begin_words
        return BegunTexts(begin(words), too_long, unknown, tokens)

    def _begin_windows(self, words: Sequence[Sequence[int]]) -> Callable[[], _Vectors]:
        """T texts as token ids -> (T, D), the mean of the windows of each."""
        windows = [self._tokenizer.windows(ids) for ids in words]
        take = self._begin_words([window for some in windows for window in some])
        starts = np.cumsum([0, *(len(some) for some in windows[:-1])])
        counts = np.array([[len(some)] for some in windows], dtype=np.float32)
        # The windows of a text have equal lengths, so they have equal weights.
        return lambda: _unit_rows((np.add.reduceat(take(), starts) / counts).astype(np.float32, copy=False))

    def _begin_words(self, words: Sequence[Sequence[int]]) -> Callable[[], _Vectors]:
        """T texts as token ids -> (T, D) float32 of norm 1."""
        order = np.argsort([len(ids) for ids in words], kind="stable")  # similar lengths together: less padding
        take = self._begin("text", self._tokenizer.rows([words[i] for i in order]) if words else ())

        def in_order() -> _Vectors:
            rows = take()
            vectors = np.empty_like(rows)
            vectors[order] = rows
            return vectors

        return in_order

    def _begin(self, kind: Kind, rows: InputRows | tuple[()]) -> Callable[[], _Vectors]:
        if isinstance(rows, tuple) or not len(rows):
            return lambda: np.empty((0, self.dim), dtype=np.float32)
        future = self._engine.submit(kind, rows)
        return lambda: _unit_rows(future.result())


def _unit_rows(features: Features) -> _Vectors:
    rows: _Vectors = torch.nn.functional.normalize(torch.from_numpy(features), dim=1).numpy()
    return rows


def default_batch_size(spec: ModelSpec, device: str) -> int:
    """Images in one forward pass if the user did not choose."""
    return default_rows(spec.image_size, device.startswith("cuda"))
