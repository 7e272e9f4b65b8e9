"""Turns queries into vectors, in the space of a dataset's rows.

In: texts, images and ids of rows, to be searched for one by one or together, and such that rows must not be like. Out:
a unit vector for each search. The model is loaded only for queries that are not rows with stored vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline import storage
from pipeline.curation.search.exact import vectors_of
from pipeline.curation.search.request import SearchQuery, SearchRequest
from pipeline.curation.vectors import Vectors
from pipeline.errors import ImageError, NotFoundError, UsageError

if TYPE_CHECKING:
    from pipeline.images.decode import DecodedImage
    from pipeline.model.chinese_clip import ChineseClip

_MAX_IMAGE_BYTES, _MAX_PIXELS = 64 * 2**20, 2**28
_CURE = "check its name, or search for the words with --text."
#: A combined vector that is shorter has no direction beyond rounding.
_SHORTEST = 1e-4


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """One search.

    Attributes:
        kind: text, image or id; "combined" if it is made of several queries.
        value: the query, or a line that names all of them.
        parts, without: what it is made of.
    """

    kind: str
    value: str
    parts: tuple[SearchQuery, ...]
    without: tuple[SearchQuery, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """The rows that it is made of, which are no answers."""
        return frozenset(part.value for part in (*self.parts, *self.without) if part.kind == "id")


class QueryEncoder:
    """Gives queries their vectors.

    Args:
        out: the dataset.
        vector: the column that is searched; ids stand for their vectors in it.
        load: loads the dataset's model.
        read: the bytes at the address of an image.
    """

    def __init__(
        self, out: str, vector: str, load: Callable[[], ChineseClip], read: Callable[[str], bytes] | None = None
    ) -> None:
        self._out, self._vector, self._load = out, vector, load
        self._read = read or (lambda address: read_image(address, _CURE))

    def encode(self, queries: Iterable[SearchQuery]) -> dict[SearchQuery, Vectors]:
        """The (D,) unit vector of each query. Raises UsageError for an id or an image that is not there."""
        queries, found = tuple(dict.fromkeys(queries)), dict[SearchQuery, Vectors]()
        if ids := [query for query in queries if query.kind == "id"]:
            stored = vectors_of(self._out, [query.value for query in ids], self._vector)
            found |= dict(zip(ids, stored, strict=True))
        if len(ids) < len(queries):
            images = {query: self._read(query.value) for query in queries if query.kind == "image"}
            encoder = self._load()
            texts = [query for query in queries if query.kind == "text"]
            found |= dict(zip(texts, encoder.encode_texts([query.value for query in texts]), strict=True))
            for query, data in images.items():
                found[query] = encoder.encode_images(decoded(encoder, data, query.value).pixels[None])[0]
        return found


def asked_for(request: SearchRequest) -> list[AskedQuery]:
    """The searches of a request: one, or one for each of its queries."""
    sets = [request.queries] if request.combine else [(query,) for query in request.queries]
    return [_asked(parts, request.without) for parts in sets]


def _asked(parts: Sequence[SearchQuery], without: Sequence[SearchQuery]) -> AskedQuery:
    if len(parts) == 1 and not without:
        return AskedQuery(parts[0].kind, parts[0].value, tuple(parts))
    name = " + ".join(part.value for part in parts) + "".join(f" - {part.value}" for part in without)
    return AskedQuery("combined", name, tuple(parts), tuple(without))


def combined(asked: AskedQuery, vectors: dict[SearchQuery, Vectors]) -> Vectors:
    """The (D,) unit vector of a search: the mean of its parts less the mean of those that rows must not be like.

    Raises:
        UsageError: nothing is left of it, as of a query less itself.
    """
    if asked.kind != "combined":
        return vectors[asked.parts[0]]
    found = direction([vectors[part] for part in asked.parts], [vectors[part] for part in asked.without])
    if found is None:
        raise UsageError(f"{asked.value}: these queries cancel each other out. Leave out one of them.")
    return found


def direction(parts: Sequence[Vectors], without: Sequence[Vectors]) -> Vectors | None:
    """The unit vector of the mean of `parts` less that of `without`, all (D,); None if nothing is left of it."""
    found = np.mean(parts, axis=0)
    if without:
        found = found - np.mean(without, axis=0)
    length = float(np.linalg.norm(found))
    return None if length < _SHORTEST else (found / length).astype(np.float32)


def read_image(address: str, cure: str = "check its name.") -> bytes:
    """The bytes of an image that a user named. Raises UsageError with `cure` if there is none, StorageError."""
    try:
        return storage.read_bytes(address, max_bytes=_MAX_IMAGE_BYTES)
    except NotFoundError as error:
        raise UsageError(f"There is no image {address}: {cure}") from error


def decoded(encoder: ChineseClip, data: bytes, address: str) -> DecodedImage:
    """The image as the model sees it. Raises UsageError."""
    from pipeline.images.decode import decode  # only image queries decode

    try:
        return decode(data, encoder.image_size, _MAX_PIXELS)
    except ImageError as error:
        raise UsageError(f"{address} is not a readable image ({error}): choose another.") from error
