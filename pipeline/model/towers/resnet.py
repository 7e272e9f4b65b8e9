"""The image tower of RN50: CLIP's variant of ResNet-50, which transformers does not have.

A stem of three convolutions, average pooling in place of strides, and a final attention layer in place of global
average pooling. Its parameters are named as in the authors' checkpoints.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pipeline.model.architecture import RESNET_GROWTH, RESNET_STRIDE, ResNet
from pipeline.model.towers.layers import attend

_EXPANSION = 4


class ModifiedResNet(nn.Module):  # type: ignore[misc]
    """The image tower. `image_size` is fixed: each position of the last feature map has its own embedding."""

    def __init__(self, sizes: ResNet, dim: int, image_size: int) -> None:
        super().__init__()
        width, stages = sizes.width, sizes.stages
        self.conv1 = _conv(3, width // 2, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = _conv(width // 2, width // 2, 3)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = _conv(width // 2, width, 3)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, stages[0], stride=1)
        self.layer2 = _stage(width * _EXPANSION, width * 2, stages[1], stride=2)
        self.layer3 = _stage(width * 2 * _EXPANSION, width * 4, stages[2], stride=2)
        self.layer4 = _stage(width * 4 * _EXPANSION, width * 8, stages[3], stride=2)
        self.attnpool = AttentionPool(image_size // RESNET_STRIDE, width * RESNET_GROWTH, sizes.heads, dim)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) -> (B, D)."""
        maps = functional.relu(self.bn1(self.conv1(pixels)), inplace=True)
        maps = functional.relu(self.bn2(self.conv2(maps)), inplace=True)
        maps = functional.relu(self.bn3(self.conv3(maps)), inplace=True)
        maps = functional.avg_pool2d(maps, 2)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        vectors: torch.Tensor = self.attnpool(maps)
        return vectors


class BottleneckBlock(nn.Module):  # type: ignore[misc]
    """1 x 1, 3 x 3 and 1 x 1 convolutions with a shortcut; with a stride both paths are average-pooled."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv(planes, planes * _EXPANSION, 1)
        self.bn3 = nn.BatchNorm2d(planes * _EXPANSION)
        self.stride = stride
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != planes * _EXPANSION:
            self.downsample = nn.Sequential(
                _conv(channels, planes * _EXPANSION, 1), nn.BatchNorm2d(planes * _EXPANSION)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 4 P, H / stride, W / stride)."""
        inner = functional.relu(self.bn1(self.conv1(maps)), inplace=True)
        inner = functional.relu(self.bn2(self.conv2(inner)), inplace=True)
        if self.stride > 1:
            inner, maps = functional.avg_pool2d(inner, self.stride), functional.avg_pool2d(maps, self.stride)
        inner = self.bn3(self.conv3(inner))
        if self.downsample is not None:
            maps = self.downsample(maps)
        return functional.relu(inner + maps, inplace=True)


class AttentionPool(nn.Module):  # type: ignore[misc]
    """One query, the mean of all positions, attends to itself and to every position."""

    def __init__(self, side: int, width: int, heads: int, dim: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(side**2 + 1, width))
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, dim)
        self.heads = heads

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, side, side) -> (B, D)."""
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positional_embedding
        pooled = attend(self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens), self.heads)
        vectors: torch.Tensor = self.c_proj(pooled[:, 0])
        return vectors


def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    later = (BottleneckBlock(planes * _EXPANSION, planes, 1) for _ in range(blocks - 1))
    return nn.Sequential(BottleneckBlock(channels, planes, stride), *later)


def _conv(channels: int, planes: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, planes, kernel, stride=stride, padding=kernel // 2, bias=False)
