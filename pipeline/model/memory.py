"""How much memory a model needs, from its sizes alone: weights, and what one image or text holds at the fullest moment.

An estimate of tensors, without the process around them (Python and torch take about 0.5 GB, a CUDA context as much
again). Inference keeps one layer's numbers at a time. In a transformer the fullest moment is the activation inside the
MLP: three copies of the hidden layer, beside a layer's input and its normalised copy. In a ResNet it is the sum at the
end of a block of the first stage: five maps as large as the stem's.
"""

from __future__ import annotations

from pipeline.model.architecture import Architecture, Transformer

#: Bytes of a number.
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
#: Texts in one pass for each image: a text of up to 52 tokens is a quarter of an image's 197 or more.
TEXTS_PER_IMAGE = 4
_CHANNELS = 3
_PIXEL_BYTES = 5  # as uint8 and, while it is normalised, as float32
_HIDDEN_COPIES, _WIDTH_COPIES = 3, 2
_MAP_COPIES = 5


def default_rows(image_size: int, on_gpu: bool) -> int:
    """Images in one forward pass where nobody chose: enough to keep the device busy, and not more.

    On a CPU 8 to 16 images of the base model are the fastest; at 32 the activations no longer fit its caches. Smaller
    images take less of them, and 64 are the fastest for the demo model.
    """
    if not on_gpu:
        return min(64, max(8, 16 * 224**2 // image_size**2))
    return max(1, 256 * 224**2 // image_size**2) if image_size > 224 else 256


def batch_bytes(sizes: Architecture, rows: int, dtype: str, tokens: int) -> int:
    """Most bytes that a pass over `rows` images, or over the texts that go with them, holds beside the weights."""
    return rows * max(image_bytes(sizes, dtype), TEXTS_PER_IMAGE * text_bytes(sizes, dtype, tokens))


def image_bytes(sizes: Architecture, dtype: str) -> int:
    """Most bytes that one image holds on its way through the image tower."""
    pixels = _CHANNELS * sizes.image_size**2 * (_PIXEL_BYTES + BYTES[dtype])
    if isinstance(sizes.image, Transformer):
        return pixels + _layer_bytes(sizes.image, sizes.image_tokens, dtype)
    return pixels + int(_MAP_COPIES * sizes.image.width * (sizes.image_size // 2) ** 2) * BYTES[dtype]


def text_bytes(sizes: Architecture, dtype: str, tokens: int) -> int:
    """Most bytes that one text of `tokens` tokens holds on its way through the text tower."""
    return _layer_bytes(sizes.text, tokens, dtype)


def _layer_bytes(tower: Transformer, tokens: int, dtype: str) -> int:
    return tokens * (_WIDTH_COPIES * tower.width + _HIDDEN_COPIES * tower.hidden) * BYTES[dtype]
