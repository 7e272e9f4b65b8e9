"""The text tower: a BERT, whose vector of a text comes from the first token, [CLS].

Its parameters are named as in transformers' `ChineseCLIPModel`, whose vectors it gives bit for bit: operations are in
the same order. Each layer normalises what it writes.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline.model.architecture import Architecture
from pipeline.model.towers.activations import activation
from pipeline.model.towers.fused import joined
from pipeline.model.towers.layers import attend, table

_INPUTS = ("query", "key", "value")


class Bert(nn.Module):  # type: ignore[misc]
    """The text tower of `sizes`, without its projection."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.embeddings = WordEmbeddings(sizes)
        layers = (TextLayer(sizes) for _ in range(sizes.text.layers))
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(T, L) token ids, and a mask with 0 for padding or None without any -> (T, width)."""
        length = ids.shape[1]
        counts = None if mask is None else mask.bool()[:, None, None, :].expand(-1, 1, length, -1)
        states = self.embeddings(ids)
        for layer in self.encoder["layer"]:
            states = layer(states, counts)
        vectors: torch.Tensor = states[:, 0]
        return vectors


class WordEmbeddings(nn.Module):  # type: ignore[misc]
    """The vectors of words, positions and the first type of tokens, added and normalised."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        width = sizes.text.width
        self.word_embeddings = table(sizes.vocabulary, width)
        self.position_embeddings = table(sizes.positions, width)
        self.token_type_embeddings = table(sizes.token_types, width)
        self.LayerNorm = nn.LayerNorm(width, eps=sizes.text_eps)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(T, L) -> (T, L, width)."""
        tokens = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        tokens = tokens + self.position_embeddings.weight[: ids.shape[1]]
        normalised: torch.Tensor = self.LayerNorm(tokens)
        return normalised


class TextLayer(nn.Module):  # type: ignore[misc]
    """Attention and an MLP, each added to its input and then normalised."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        width, hidden, eps = sizes.text.width, sizes.text.hidden, sizes.text_eps
        projections = nn.ModuleDict({name: nn.Linear(width, width) for name in _INPUTS})
        self.attention = nn.ModuleDict({"self": projections, "output": Addition(width, width, eps)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = Addition(hidden, width, eps)
        self._activation = activation(sizes.text_activation)
        self._heads = sizes.text.heads

    def fuse(self) -> None:
        """See `pipeline.model.towers.fused`; for weights that are loaded, once."""
        projections = self.attention["self"]
        projections["inputs"] = joined([projections.pop(name) for name in _INPUTS])

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(T, L, width) and a mask as for `attend` -> (T, L, width)."""
        projections = self.attention["self"]
        if "inputs" in projections:
            query, key, value = projections["inputs"](states).chunk(3, dim=2)
        else:
            query, key, value = (projections[name](states) for name in _INPUTS)
        states = self.attention["output"](attend(query, key, value, self._heads, mask), states)
        inner = self._activation(self.intermediate["dense"](states))
        changed: torch.Tensor = self.output(inner, states)
        return changed


class Addition(nn.Module):  # type: ignore[misc]
    """A projection that is added to the layer's input, and normalised with it."""

    def __init__(self, width: int, out: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, out)
        self.LayerNorm = nn.LayerNorm(out, eps=eps)

    def forward(self, inner: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """(T, L, width) and (T, L, out) -> (T, L, out)."""
        normalised: torch.Tensor = self.LayerNorm(self.dense(inner) + states)
        return normalised
