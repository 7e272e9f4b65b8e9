"""Finds the state of a Chinese CLIP in whatever a training loop saved: by the names in it, not by its wrapper.

In: the content of a weights file, mappings with a `Stored` for each tensor. Out: a `ModelState`. Every text tower has a
table of words with a known name, in transformers' spelling or in the authors'. What precedes that name is the prefix of
one model, and the keys of the mappings around it are its address. Wrappers of distributed and compiled training add
parts to names, also in the middle; they are dropped.

What else the file holds may change what the model computes (an adapter beside the towers), so it is refused with its
names, unless it is known to take no part in inference: an optimizer, a loss, another copy of the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.model.weights.stored import Stored

#: The text tower's table of words, in transformers' spelling and in the authors'.
_WORDS = re.compile(r"(?:(.*)\.)?((?:text_model|bert)\.embeddings\.word_embeddings\.weight)")
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
#: Parts of a training loop: losses, optimizers, averages of the weights.
_TRAINING = re.compile(
    r"(?:^|[._])(?:loss(?:es)?|criterion|metrics?|optim\w*|sched\w*|scaler|callbacks?|loops|amp|ema|swa)(?:[._]|$)",
    re.IGNORECASE,
)
#: The address of a state at the top level of its file.
TOP = "."
_MANY = 4
_DEEP = 6


@dataclass(frozen=True, slots=True)
class ModelState:
    """The tensors of one model.

    Attributes:
        address: keys and prefix in the file, joined with dots.
        is_only: whether the file holds no other.
        tensors: by their names without prefix and wrappers.
    """

    address: str
    is_only: bool
    tensors: dict[str, Stored]


@dataclass(frozen=True, slots=True)
class _Found:
    """A state: the keys of its mapping, and the prefix of its names there."""

    keys: tuple[str, ...]
    prefix: str

    @property
    def address(self) -> str:
        return ".".join((*self.keys, *([self.prefix] if self.prefix else []))) or TOP


def find_state(tree: Mapping[Any, Any], path: Path, address: str | None) -> ModelState:
    """The state in the content `tree` of the file at `path`.

    Args:
        tree: nested mappings with a `Stored` for each tensor.
        path: named in errors.
        address: which of several to take; what is outside it is then left out without being checked.

    Raises:
        ModelError: there is none, several, or none at `address`; or there are further tensors that may matter.
    """
    mappings = dict(_mappings(tree, ()))
    states = [_Found(keys, prefix) for keys, tensors in mappings.items() for prefix in _prefixes(tensors)]
    if not states:
        raise ModelError(f"{path}: it is not a Chinese CLIP: it holds no text tower. {_contents(tree, mappings)}")
    chosen = _choose(states, path, address)
    inside = {name: tensor for name, tensor in mappings[chosen.keys].items() if _is_below(name, chosen.prefix)}
    if address is None:
        _refuse_others(mappings, states, path)
    skip = len(chosen.prefix) + 1 if chosen.prefix else 0
    return ModelState(chosen.address, len(states) == 1, {name[skip:]: tensor for name, tensor in inside.items()})


def holds_state(tree: Mapping[Any, Any]) -> bool:
    """Whether there is the state of a model in the content of a file."""
    return any(_prefixes(tensors) for _, tensors in _mappings(tree, ()))


def plain(name: str) -> str:
    """A tensor's name without the parts that wrappers of distributed and compiled training add."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def some(names: list[str]) -> str:
    """The first few of many names."""
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(sorted(names)[:_MANY]) + more


def _mappings(tree: Mapping[Any, Any], keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Stored]]]:
    """Every mapping with tensors, by the keys that lead to it; names are `plain`, unless two would be equal."""
    tensors = {name: value for name, value in tree.items() if isinstance(name, str) and isinstance(value, Stored)}
    if tensors:
        short = {plain(name): tensor for name, tensor in tensors.items()}
        yield keys, short if len(short) == len(tensors) else tensors
    if len(keys) < _DEEP:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                yield from _mappings(value, (*keys, str(name)))


def _prefixes(tensors: Mapping[str, Stored]) -> list[str]:
    return [found[1] or "" for found in map(_WORDS.fullmatch, tensors) if found]


def _is_below(name: str, prefix: str) -> bool:
    return not prefix or name.startswith(f"{prefix}.")


def _choose(states: list[_Found], path: Path, address: str | None) -> _Found:
    addresses = [state.address for state in states]
    if address is not None and address in addresses:
        return states[addresses.index(address)]
    if address is None and len(states) == 1:
        return states[0]
    asked = "" if address is None else f", and none at {address}"
    raise ModelError(
        f"{path} holds the weights of {len(states)} models, at {', '.join(addresses)}{asked}: choose one as "
        f"--model {path}#{addresses[0]}."
        if len(states) > 1
        else f"{path} holds no model at {address}: its weights are at {addresses[0]}. Give --model {path}."
    )


def _refuse_others(mappings: dict[tuple[str, ...], dict[str, Stored]], states: list[_Found], path: Path) -> None:
    """Raise ModelError for tensors outside every state that may take part in inference."""
    others = []
    for keys, tensors in mappings.items():
        prefixes = [state.prefix for state in states if state.keys == keys]
        for name, tensor in tensors.items():
            address = ".".join((*keys, name))
            is_state = not prefixes and (tensor.elements <= 1 or "F" not in tensor.dtype)  # counts, random states
            if not (is_state or any(_is_below(name, prefix) for prefix in prefixes) or _TRAINING.search(address)):
                others.append(address)
    if others:
        raise ModelError(
            f"{path} holds tensors beside the model's that may change its vectors: {some(others)}. If they take no "
            f"part in inference, give --model {path}#{states[0].address}; else merge them into the weights where it "
            "was trained."
        )


def _contents(tree: Mapping[Any, Any], mappings: dict[tuple[str, ...], dict[str, Stored]]) -> str:
    top = some([str(key) for key in tree]) if tree else "nothing"
    names = [".".join((*keys, name)) for keys, tensors in mappings.items() for name in tensors]
    return f"At its top level are: {top}. " + (
        f"It has {len(names)} tensors, such as {some(names)}. Give the weights of a Chinese CLIP, with the names that "
        "its authors' code or transformers gives them."
        if names
        else "It has no tensors: give a file with weights."
    )
