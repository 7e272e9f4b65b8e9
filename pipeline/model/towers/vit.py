"""The image tower of four of the five released models: a vision transformer.

Its parameters are named as in transformers' `ChineseCLIPModel`, whose vectors it gives bit for bit: operations are in
the same order. Each layer normalises what it reads, and the image's vector comes from the class token.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline.model.architecture import Architecture, Transformer
from pipeline.model.towers.activations import activation
from pipeline.model.towers.fused import joined, with_one_kernel
from pipeline.model.towers.layers import attend, table

_INPUTS = ("q_proj", "k_proj", "v_proj")


class VisionTransformer(nn.Module):  # type: ignore[misc]
    """The image tower `image` of `sizes`, without its projection."""

    def __init__(self, sizes: Architecture, image: Transformer) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(sizes, image.width)
        self.pre_layrnorm = nn.LayerNorm(image.width, eps=sizes.image_eps)
        layers = (ImageLayer(image, sizes.image_activation, sizes.image_eps) for _ in range(image.layers))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.post_layernorm = nn.LayerNorm(image.width, eps=sizes.image_eps)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) -> (B, width)."""
        states = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder["layers"]:
            states = layer(states)
        vectors: torch.Tensor = self.post_layernorm(states[:, 0])
        return vectors


class PatchEmbeddings(nn.Module):  # type: ignore[misc]
    """A class token and one token per patch, each with the embedding of its position."""

    def __init__(self, sizes: Architecture, width: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=sizes.patch, stride=sizes.patch, bias=False)
        self.position_embedding = table(sizes.image_tokens, width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) -> (B, L, width)."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        tokens: torch.Tensor = torch.cat([first, patches], dim=1) + self.position_embedding.weight
        return tokens


class ImageLayer(nn.Module):  # type: ignore[misc]
    """Attention and an MLP, each on normalised tokens and added to its input."""

    def __init__(self, tower: Transformer, activation_name: str, eps: float) -> None:
        super().__init__()
        width = tower.width
        self.self_attn = nn.ModuleDict({name: nn.Linear(width, width) for name in (*_INPUTS, "out_proj")})
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, tower.hidden), "fc2": nn.Linear(tower.hidden, width)})
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self._activation = activation(activation_name)
        self._heads = tower.heads

    def fuse(self) -> None:
        """See `pipeline.model.towers.fused`; for weights that are loaded, once."""
        self.self_attn["inputs"] = joined([self.self_attn.pop(name) for name in _INPUTS])
        self._activation = with_one_kernel(self._activation, self.mlp["fc1"], self.mlp["fc2"])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, L, width) -> (B, L, width)."""
        inner, attention = self.layer_norm1(states), self.self_attn
        if "inputs" in attention:
            query, key, value = attention["inputs"](inner).chunk(3, dim=2)
        else:
            query, key, value = (attention[name](inner) for name in _INPUTS)
        states = states + attention["out_proj"](attend(query, key, value, self._heads))
        inner = self._activation(self.mlp["fc1"](self.layer_norm2(states)))
        changed: torch.Tensor = states + self.mlp["fc2"](inner)
        return changed
