"""Reads feature files of the Chinese-CLIP authors: JSON lines with an id and a vector.

In: the URI of `*.img_feat.jsonl` ({"image_id": 7, "feature": [...]}) or `*.txt_feat.jsonl` (with `text_id`). Out:
blocks of ids and vectors in the order of the file, in bounded memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import numpy as np

from pipeline import storage
from pipeline.curation.vectors import Vectors
from pipeline.errors import SourceError

_BLOCK_ROWS = 4096
_BUFFER_BYTES = 4 * 2**20
_ID_KEYS = ("image_id", "text_id")


def read_features(uri: str, rows: int = _BLOCK_ROWS) -> Iterator[tuple[list[int], Vectors]]:
    """Yield ids and (B, D) float32 vectors of the file at `uri`, at most `rows` at a time.

    Raises:
        SourceError: a line is not a feature, or its length differs from the first; the message has the line number.
        StorageError: the file cannot be read.
    """
    dim = 0
    with storage.open_seekable(uri, buffer_bytes=_BUFFER_BYTES) as file:
        lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        while block := list(islice(lines, rows)):
            features = [_feature(line, f"Line {number} of {uri}") for number, line in block]
            dim = dim or len(features[0][1])
            for (number, _), (_, feature) in zip(block, features, strict=True):
                if len(feature) != dim:
                    raise SourceError(
                        f"Line {number} of {uri} has {len(feature)} numbers, the first line has {dim}: the file mixes "
                        "models. Write it again with one model."
                    )
            yield [id_ for id_, _ in features], _matrix([feature for _, feature in features], uri)


def _feature(line: bytes, place: str) -> tuple[int, list[float]]:
    try:
        parsed = json.loads(line)
        id_, feature = next(parsed[key] for key in _ID_KEYS if key in parsed), parsed["feature"]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise SourceError(
            f'{place} is not {{"image_id" or "text_id": 7, "feature": [...]}} ({error!r}). Correct the file.'
        ) from error
    if type(id_) is not int or not isinstance(feature, list) or not feature:
        raise SourceError(
            f"{place} has an id that is not an integer, or a feature that is not a list. Correct the file."
        )
    return id_, feature


def _matrix(features: list[list[float]], uri: str) -> Vectors:
    try:
        vectors = np.array(features, np.float32)
    except (ValueError, TypeError) as error:
        raise SourceError(f"{uri} has a feature that is not a list of numbers ({error}). Correct the file.") from error
    if not np.isfinite(vectors).all():
        raise SourceError(f"{uri} has a feature with NaN or Infinity. Write it again with finite numbers.")
    return vectors
