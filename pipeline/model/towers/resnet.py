"""Chinese CLIP with a ResNet as its image tower, which transformers does not have.

In: a config.json of type `chinese_clip_resnet`. Out: a model with `get_image_features` and `get_text_features`, like
transformers' `ChineseCLIPModel`, that loads and saves like any transformers model. The image tower is CLIP's variant of
ResNet-50: a stem of three convolutions, average pooling in place of strides, and a final attention layer in place of
global average pooling. Its parameters are named as in the authors' checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import ChineseCLIPTextConfig, ChineseCLIPTextModel, PretrainedConfig, PreTrainedModel

from pipeline.model.architecture import RESNET, RESNET_GROWTH, RESNET_STRIDE

_EXPANSION = 4


class ResNetConfig(PretrainedConfig):  # type: ignore[misc]
    """The sizes of `ResNetModel`, as `architecture.Architecture.config` writes them."""

    model_type = RESNET
    sub_configs = {"text_config": ChineseCLIPTextConfig}  # noqa: RUF012

    text_config: Any = None
    vision_config: Any = None
    projection_dim: int = 1024
    logit_scale_init_value: float = 2.6592

    def __post_init__(self, **kwargs: Any) -> None:
        """Convert the tree of the text tower's configuration to an object."""
        if not isinstance(self.text_config, ChineseCLIPTextConfig):
            self.text_config = ChineseCLIPTextConfig(**(self.text_config or {}))
        super().__post_init__(**kwargs)


class ResNetModel(PreTrainedModel):  # type: ignore[misc]
    """Both towers. Features are not normalised."""

    config_class = ResNetConfig
    base_model_prefix = "chinese_clip_resnet"
    _supports_sdpa = True

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.text_model = ChineseCLIPTextModel(config.text_config, add_pooling_layer=False)
        self.vision_model = ModifiedResNet(dim=config.projection_dim, **config.vision_config)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: all weights come from a file, and a file that lacks any is refused."""

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, N, N) normalised pixels -> (B, D)."""
        features: torch.Tensor = self.vision_model(pixel_values)
        return features

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(T, L) token ids and mask -> (T, D), from the first token, [CLS]."""
        states = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        features: torch.Tensor = self.text_projection(states[:, 0])
        return features


class ModifiedResNet(nn.Module):  # type: ignore[misc]
    """The image tower. `image_size` is fixed: each position of the last feature map has its own embedding."""

    def __init__(self, dim: int, stages: Sequence[int], width: int, heads: int, image_size: int) -> None:
        super().__init__()
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
        self.attnpool = AttentionPool(image_size // RESNET_STRIDE, width * RESNET_GROWTH, heads, dim)

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
        query, key, value = (
            self._split(projection(part))
            for projection, part in (
                (self.q_proj, tokens[:, :1]),
                (self.k_proj, tokens),
                (self.v_proj, tokens),
            )
        )
        pooled = functional.scaled_dot_product_attention(query, key, value)
        vectors: torch.Tensor = self.c_proj(pooled.transpose(1, 2).flatten(1))
        return vectors

    def _split(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, L, C) -> (B, heads, L, C / heads)."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    later = (BottleneckBlock(planes * _EXPANSION, planes, 1) for _ in range(blocks - 1))
    return nn.Sequential(BottleneckBlock(channels, planes, stride), *later)


def _conv(channels: int, planes: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, planes, kernel, stride=stride, padding=kernel // 2, bias=False)
