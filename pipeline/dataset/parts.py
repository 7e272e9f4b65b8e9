"""Defines and compares the parts of models: everything that their vectors follow from, by name.

In: the parts that a dataset records and those of a run's model, as plain JSON values. Out: differences and notes.
Datasets of earlier versions record none; what those versions did for every model is known, the rest is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

ModelParts = Mapping[str, Any]

#: The parts of a model, in the order in which differences are reported, each with its cure.
_PARTS = {
    "weights": "write to another OUT, or use the model that the dataset was made with",
    "adapter": "write to another OUT, or use the LoRA adapter that the dataset was made with, None for none",
    "vocabulary": "write to another OUT, or use the vocab.txt that the dataset was made with",
    "tokenizer": "write to another OUT, or use the tokenizer_config.json that the dataset was made with",
    "context_length": "write to another OUT, or set --context-length to the dataset's",
    "configuration": "write to another OUT, or use the config.json that the dataset was made with",
}
_USUAL_CONTEXT = 52
#: What versions that did not record the parts did for every model; they left adapters and tokenizers' rules out.
UNRECORDED: ModelParts = {"adapter": None, "tokenizer": {}, "context_length": _USUAL_CONTEXT}


class ModelFacts(Protocol):
    """The properties of a checkpoint that decide what a vector means; `model.checkpoints.ModelSpec` has them."""

    @property
    def name(self) -> str:
        """Hub id or folder."""

    @property
    def revision(self) -> str | None:
        """Commit on the hub."""

    @property
    def weights_sha256(self) -> str:
        """Hex digest of the weights."""

    @property
    def model_sha256(self) -> str:
        """Hex digest of everything that the vectors follow from."""

    @property
    def parts(self) -> ModelParts:
        """What that is, as plain JSON values by name."""

    @property
    def unusual(self) -> tuple[str, ...]:
        """Names of the parts that differ from those of the released models."""

    @property
    def preprocessing(self) -> str:
        """Id of the preprocessing."""

    @property
    def dim(self) -> int:
        """Length of a vector."""


def unrecorded(stored: ModelParts | None, model: str, unusual: Iterable[str]) -> tuple[str, ...]:
    """A note if a dataset does not record the parts of its model, and those of `model` are `unusual`; else nothing."""
    unknown = [name for name in unusual if name not in UNRECORDED]
    if stored is not None or not unknown:
        return ()
    return (
        f"The dataset was made before hanclip recorded the {' and the '.join(unknown)} of its model, so they are "
        f"unknown, and those of {model} are not the released models': make sure that the dataset was made with "
        "them. They are recorded now, and later runs with others are refused.",
    )


def part_differences(stored: ModelParts | None, wanted: ModelParts | None) -> Iterator[str]:
    """The parts that differ, with both values and the cure; of a dataset that does not record them, those known."""
    if wanted is None:
        return
    theirs = UNRECORDED if stored is None else stored
    for name, cure in _PARTS.items():
        ours = wanted.get(name)
        if name in theirs and theirs[name] != ours:
            yield f"{name}: the dataset has {theirs[name]!r}, this run has {ours!r} ({cure})"
