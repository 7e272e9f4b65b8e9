"""Encodes and decodes the `hanclip.*` metadata in Parquet footers: facts by name, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.vocabulary import NOT_USED, VARYING_PASSES

_PREFIX = "hanclip."
_PIXEL_MAKERS = ("resize", "pillow", "libjpeg", "simplejpeg")
_VECTOR_MAKERS = ("torch", "towers", "tokenizers", "device", "instructions", "passes", "bits")
#: What made the rows of a file: the rule of the resize, versions of the libraries that decode and compute, the
#: hardware, the shape of passes, and a digest of the bits that it computes.
MAKERS = (*_PIXEL_MAKERS, *_VECTOR_MAKERS)
#: Value of a maker that nothing states.
UNKNOWN = "unknown"


def encode_footer(facts: Mapping[str, object]) -> dict[str, str]:
    """Footer metadata that holds `facts`."""
    return {_PREFIX + name: str(value) for name, value in facts.items()}


def decode_footer(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """The facts in the metadata of a Parquet file or an Arrow schema; entries of other software are left out."""
    own = {key.decode(): value for key, value in (metadata or {}).items() if key.startswith(_PREFIX.encode())}
    return {key.removeprefix(_PREFIX): value.decode() for key, value in own.items()}


def joined_makers(sources: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The makers of rows that come from several chunks or files, whose facts `sources` are.

    Different values are joined by commas, and `unknown` is one of them.
    """
    every = list(sources)
    return {name: joined_values(facts.get(name, UNKNOWN) for facts in every) for name in MAKERS}


def maker_values(joined: str) -> set[str]:
    """The values of a maker in a footer; none if the rows needed it not."""
    return set(joined.split(",")) - {NOT_USED}


def are_exact(makers: Mapping[str, str]) -> bool:
    """Whether all rows with these makers were computed in passes of one shape."""
    shapes = maker_values(makers["passes"])
    return len(shapes) == 1 and not shapes & {VARYING_PASSES, UNKNOWN}


def joined_values(values: Iterable[str]) -> str:
    """The distinct values among `values`, each of which may be several joined by commas; `none` without any."""
    return ",".join(sorted({one for value in values for one in maker_values(value)})) or NOT_USED
