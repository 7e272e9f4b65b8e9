"""Estimates how much memory a model needs, from its sizes alone. Needs no torch.

Only tensors are counted: Python and torch take about 0.5 GB more, and a CUDA context as much again. Inference keeps the
activations of one layer at a time. In a transformer they peak inside the MLP: three copies of the hidden layer, plus
the layer's input and its normalised copy. In a ResNet they peak at the end of a block of the first stage: five feature
maps of the stem's size.
"""

from __future__ import annotations

from pipeline.model.architecture import Architecture, Transformer

#: Bytes per number.
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
#: Tokens of texts in one pass for each image: four texts of up to 52 tokens, for an image of 197 or more.
_TEXT_TOKENS_PER_IMAGE = 4 * 52
_CHANNELS = 3
_PIXEL_BYTES = 5  # as uint8 and, during normalisation, as float32
_HIDDEN_COPIES, _WIDTH_COPIES = 3, 2
_MAP_COPIES = 5


def default_rows(image_size: int, on_gpu: bool) -> int:
    """Images in one forward pass if the user did not choose: just enough to keep the device busy.

    On a CPU 8 to 16 images are the fastest for the base model; at 32 the activations no longer fit into its caches. 64
    are the fastest for the demo model, whose images are smaller.
    """
    if not on_gpu:
        return min(64, max(8, 16 * 224**2 // image_size**2))
    return max(1, 256 * 224**2 // image_size**2) if image_size > 224 else 256


def texts_per_image(context_length: int) -> int:
    """Texts in one pass for each image: four of the usual context length, fewer of longer ones."""
    return max(1, _TEXT_TOKENS_PER_IMAGE // context_length)


def batch_bytes(sizes: Architecture, rows: int, dtype: str, tokens: int) -> int:
    """Peak bytes, without weights, of a pass over `rows` images or over the texts that go with them."""
    return rows * max(image_bytes(sizes, dtype), texts_per_image(tokens) * text_bytes(sizes, dtype, tokens))


def image_bytes(sizes: Architecture, dtype: str) -> int:
    """Peak bytes of one image in the image tower."""
    pixels = _CHANNELS * sizes.image_size**2 * (_PIXEL_BYTES + BYTES[dtype])
    if isinstance(sizes.image, Transformer):
        return pixels + _layer_bytes(sizes.image, sizes.image_tokens, dtype)
    return pixels + int(_MAP_COPIES * sizes.image.width * (sizes.image_size // 2) ** 2) * BYTES[dtype]


def text_bytes(sizes: Architecture, dtype: str, tokens: int) -> int:
    """Peak bytes of one text of `tokens` tokens in the text tower."""
    return _layer_bytes(sizes.text, tokens, dtype)


def _layer_bytes(tower: Transformer, tokens: int, dtype: str) -> int:
    return tokens * (_WIDTH_COPIES * tower.width + _HIDDEN_COPIES * tower.hidden) * BYTES[dtype]
