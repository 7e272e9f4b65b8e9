"""The training objective of the demo model.

In: drawings, texts, and the table of which text fits which class. Out: embeddings, the losses, and the
learning-rate schedule.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional
from transformers import ChineseCLIPModel

WARM_UP = 0.03
LABEL_SMOOTHING = 0.1


def embed_images(model: ChineseCLIPModel, pixels: Tensor, keep: float, generator: Generator) -> Tensor:
    """Unit image vectors from a random share `keep` of the patches: cheaper, and a regulariser."""
    tower = model.vision_model
    states = tower.pre_layrnorm(tower.embeddings(pixels))
    if keep < 1:
        states = _some_patches(states, keep, generator)
    states = tower.encoder(inputs_embeds=states).last_hidden_state
    return functional.normalize(model.visual_projection(tower.post_layernorm(states[:, 0])).float(), dim=-1)


def embed_texts(model: ChineseCLIPModel, batch: dict[str, Tensor]) -> Tensor:
    """Unit text vectors."""
    return functional.normalize(model.get_text_features(**batch).pooler_output.float(), dim=-1)


def _some_patches(states: Tensor, keep: float, generator: Generator) -> Tensor:
    """The class token and a random share of the patches of each image."""
    patches = states.shape[1] - 1
    order = torch.rand(len(states), patches, generator=generator).argsort(1)[:, : int(patches * keep)] + 1
    chosen = functional.pad(order, (1, 0))
    return states.gather(1, chosen.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def batch_loss(image: Tensor, text: Tensor, fits: Tensor, scale: Tensor) -> Tensor:
    """Contrastive loss within the batch; all pairs marked in `fits` (images, texts) are positives."""
    logits = scale * image @ text.T
    of_images = functional.cross_entropy(logits, _shares(fits))
    of_texts = functional.cross_entropy(logits.T, _shares(fits.T))
    return (of_images + of_texts) / 2


def class_loss(image: Tensor, text: Tensor, classes: Tensor, fits: Tensor, every_class: Tensor) -> Tensor:
    """Contrastive loss of images and texts against `every_class` (dim, classes); `fits` is (texts, classes)."""
    of_images = functional.cross_entropy(image @ every_class, classes, label_smoothing=LABEL_SMOOTHING)
    of_texts = functional.cross_entropy(text @ every_class, _shares(fits))
    return of_images + of_texts / 2


def schedule(progress: float) -> float:
    """Factor of the learning rate: a short linear warm-up, then cosine decay to zero."""
    return min(1.0, progress / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * progress))


def _shares(positives: Tensor) -> Tensor:
    return positives.float() / positives.sum(1, keepdim=True)
