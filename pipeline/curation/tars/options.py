"""How rows become tars, and what users read about it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.vocabulary import ImageName

IMAGE_NAME_HELP = (
    "name all images KEY.jpg or the like, whatever their encoding, and write an empty KEY.txt for no text. Then all "
    "samples have the same members, as load_dataset('webdataset') requires."
)
MIXED = "not all have the same members, which load_dataset('webdataset') refuses: write them with --image-name jpg"

LATE = "no value in the first five samples, so that load_dataset('webdataset') needs streaming=True"


@dataclass(frozen=True, slots=True)
class TarOptions:
    """How rows become tars.

    Attributes:
        rows, size_bytes: a tar is full when it has this many rows, or samples of at least this many bytes.
        image_name: the suffix of every image, with an empty .txt for no text; None for that of its encoding.
    """

    rows: int
    size_bytes: int | None = None
    image_name: ImageName | None = None
