"""Augment drawings, so that the model learns their content and not a vendor's style.

In: uint8 RGBA (B, 4, side, side), colours premultiplied by alpha. Out: normalised RGB float (B, 3, side,
side), transformed, recoloured, composed with a background, and blurred. All operations are batched in torch:
at this size, PIL on single images would take longer than the model.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def augment(pixels: Tensor, flippable: Tensor, generator: Generator) -> Tensor:
    """A random variation of each drawing; only `flippable` ones may be mirrored."""
    moved = _moved(pixels.float() / 255, flippable, generator)
    colours, alpha = moved[:, :3], moved[:, 3:]
    image = _recoloured(colours, alpha, generator) + (1 - alpha) * _backgrounds(len(pixels), generator)
    return normalise(_blurred(image.clamp(0, 1), generator))


def on_white(pixels: Tensor) -> Tensor:
    """The unchanged drawing on white, as in hanclip's preprocessing."""
    rgba = pixels.float() / 255
    return normalise(rgba[:, :3] + 1 - rgba[:, 3:])


def normalise(image: Tensor) -> Tensor:
    """Normalise RGB in 0..1 with CLIP's mean and standard deviation."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (image - mean) / std


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _chosen(count: int, share: float, generator: Generator) -> Tensor:
    return (torch.rand(count, generator=generator) < share).view(-1, 1, 1, 1)


def _moved(rgba: Tensor, flippable: Tensor, generator: Generator) -> Tensor:
    """Scale, stretch, rotate, shift and sometimes mirror; uncovered areas become transparent."""
    count = len(rgba)
    scale = torch.exp(_uniform(count, -0.22, 0.3, generator))
    stretch = torch.exp(_uniform(count, -0.1, 0.1, generator))
    angle = torch.randn(count, generator=generator) * math.radians(8)
    mirror = torch.where(flippable & (torch.rand(count, generator=generator) < 0.5), -1.0, 1.0)
    shift_x, shift_y = (_uniform(count, -0.14, 0.14, generator) for _ in range(2))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [cos * stretch * mirror, -sin * stretch, shift_x, sin * mirror / stretch, cos / stretch, shift_y]
    grid = functional.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(rgba.shape), align_corners=False)
    return functional.grid_sample(rgba, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _recoloured(colours: Tensor, alpha: Tensor, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and, slightly, tint; hue carries meaning (红心, 蓝心) and is kept."""
    count = len(colours)
    gain, contrast, saturation = (
        _uniform(count, low, high, generator).view(-1, 1, 1, 1) for low, high in ((0.75, 1.25), (0.7, 1.3), (0.5, 1.6))
    )
    saturation = torch.where(_chosen(count, 0.08, generator), 0.0, saturation)
    tint = 1 + 0.06 * torch.randn(count, 3, 1, 1, generator=generator)
    grey = colours.mean(1, keepdim=True)
    vivid = grey + (colours - grey) * saturation
    contrasted = 0.5 * alpha + (vivid - 0.5 * alpha) * contrast
    return torch.minimum((contrasted * gain * tint).clamp(min=0), alpha)


def _backgrounds(count: int, generator: Generator) -> Tensor:
    """Background colours: mostly white, else a light tint, else any colour."""
    anything = torch.rand(count, 3, 1, 1, generator=generator)
    light = 1 - 0.2 * anything
    kind = torch.rand(count, generator=generator).view(-1, 1, 1, 1)
    return torch.where(kind < 0.65, torch.ones(()), torch.where(kind < 0.9, light, anything))


def _blurred(image: Tensor, generator: Generator) -> Tensor:
    """Smooth some images, and halve the resolution of others."""
    count, side = len(image), image.shape[-1]
    smooth = functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    coarse = functional.interpolate(
        functional.avg_pool2d(image, 2), size=(side, side), mode="bilinear", align_corners=False
    )
    image = torch.where(_chosen(count, 0.15, generator), smooth, image)
    return torch.where(_chosen(count, 0.1, generator), coarse, image)
