"""A Chinese CLIP as a torch module: both towers with their projections, for inference.

In: an `Architecture`. Out: a module without values, whose parameters are named as in transformers' `ChineseCLIPModel`;
the image tower of a ResNet keeps the authors' names. It needs nothing of transformers, whose import takes seconds.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline.model.architecture import Architecture, ResNet
from pipeline.model.towers.bert import Bert, TextLayer
from pipeline.model.towers.resnet import ModifiedResNet
from pipeline.model.towers.vit import ImageLayer, VisionTransformer


class TwoTowers(nn.Module):  # type: ignore[misc]
    """Both towers. Features are not normalised. On torch's device "meta" it has no values yet."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        image = sizes.image
        self.text_model = Bert(sizes)
        self.text_projection = nn.Linear(sizes.text.width, sizes.dim, bias=False)
        if isinstance(image, ResNet):
            self.vision_model = ModifiedResNet(image, sizes.dim, sizes.image_size)
            self.visual_projection = None  # the pooling layer projects
        else:
            self.vision_model = VisionTransformer(sizes, image)
            self.visual_projection = nn.Linear(image.width, sizes.dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def fuse(self) -> None:
        """Change loaded weights so that a GPU needs fewer passes over its memory."""
        for module in self.modules():
            if isinstance(module, (ImageLayer, TextLayer)):
                module.fuse()

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) normalised pixels -> (B, D)."""
        features: torch.Tensor = self.vision_model(pixels)
        return features if self.visual_projection is None else self.visual_projection(features)

    def text_features(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(T, L) token ids, and a mask with 0 for padding or None without any -> (T, D)."""
        features: torch.Tensor = self.text_projection(self.text_model(ids, mask))
        return features
