"""Names the processing from image bytes to the model's input, and what made the pixels of a file.

In: the model's size, means and deviations; or the makers of pixels by name, from `pipeline.images.makers` or a footer.
Out: the id that is part of a dataset's identity, and which ids and makers go together. Imports no image library.

Ids end with a version, raised when hanclip changes pixels:

- v1 left the order of the resize's passes to the installed Pillow. From version 13 on, Pillow reduces tall pictures
  vertically first, and up to a fifth of their values differ by one level from those of earlier versions.
- v2 fixes that order to Pillow 13's. Datasets of v1 keep their id and are continued: most of their pictures have the
  same pixels in either order, and for the others nothing says which one they had.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

#: The rule of `pipeline.images.resizing`, for footers: Pillow 13's arithmetic and order of passes.
RESIZE_RULE = "pillow-13"

_V1, _V2 = "/white/v1", "/white/v2"


def preprocessing_id(size: int, mean: Sequence[float], std: Sequence[float]) -> str:
    """The id. Example: `squash-bicubic-224/white/v2`; means and deviations other than CLIP's append a hash of them."""
    name = f"squash-bicubic-{size}{_V2}"
    values = [float(value) for value in (*mean, *std)]
    if all(math.isclose(*pair, rel_tol=0, abs_tol=1e-6) for pair in zip(values, CLIP_MEAN + CLIP_STD, strict=True)):
        return name
    return f"{name}/{hashlib.sha256(repr(values).encode()).hexdigest()[:12]}"


def first_version(preprocessing: str) -> str:
    """The id as version 1 named the same processing."""
    return preprocessing.replace(_V2, _V1)


def may_continue(stored: str, now: str) -> bool:
    """Whether rows with the preprocessing `now` may be added to a dataset with `stored`."""
    return stored in (now, first_version(now))


def names_order(preprocessing: str) -> bool:
    """Whether the id says in which order the resize makes its passes."""
    return _V1 not in preprocessing


def deciding(makers: Mapping[str, str]) -> dict[str, str]:
    """Of the makers of pixels, those that decide values: machines that differ in them may decode to other pixels.

    Of Pillow that is the major version: minor ones change no pixels of what they could read before. Several values, as
    in footers, are separated by commas.
    """
    majors = {version.partition(".")[0] for version in makers["pillow"].split(",")}
    return {"resize": makers["resize"], "pillow": ",".join(sorted(majors)), "libjpeg": makers["libjpeg"]}
